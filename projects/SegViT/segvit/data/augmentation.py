"""Training and test augmentations, as Detectron2 `Augmentation`s.

Shape shorthand: H x W pixels before the transform; images are (H, W, C), label maps (H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform, Transform

from segvit.data.channel_augmentation import ChannelDistortion, ResizeTransform
from segvit.data.class_crop import ClassCrop, CropSettings, MixedCrop, crop_settings
from segvit.data.light_augmentation import light_augmentations
from segvit.data.pipelines.loading import load_pipeline
from segvit.data.pipelines.own_pipeline import OwnPipeline
from segvit.errors import UserError
from segvit.images import image_format_of

# Ranges at strength 1: those of SSD (Liu et al., ECCV 2016, section 2.2), which the official recipe uses.
BRIGHTNESS_DELTA = 32.0
CONTRAST_DELTA = 0.5
SATURATION_DELTA = 0.5
HUE_DELTA = 18.0
# OpenCV stores the hue of an 8-bit image in steps of two degrees.
HUE_STEPS = 180


class ResizeWithRatio(T.Augmentation):
    """Resize to fit into `ratio * short` x `ratio * long`, with a random ratio per image; keeps the aspect ratio.

    Args:
        short: one limit of the short side, in pixels, or several.
        long: the limit of the long side.
        ratio_range: of the ratio.
        sampling: "uniform" draws the ratio uniformly, "log" its logarithm.
        short_sampling: "choice" draws one of several limits, "range" an integer from the first to the second.

    Raises:
        UserError: naming the key of a value that does not fit.
    """

    def __init__(
        self,
        *,
        short: int | Sequence[int],
        long: int,
        ratio_range: tuple[float, float],
        sampling: str = "uniform",
        short_sampling: str = "choice",
    ) -> None:
        super().__init__()
        low, high = ratio_range
        if not 0 < low <= high:
            raise UserError(f"INPUT.RESIZE_RATIO_RANGE must be 0 < low <= high, got {list(ratio_range)}")
        if sampling not in ("uniform", "log"):
            raise UserError(f"INPUT.RESIZE_RATIO_SAMPLING must be 'uniform' or 'log', got {sampling!r}")
        self.shorts = (short,) if isinstance(short, int) else tuple(short)
        if short_sampling == "range" and (len(self.shorts) != 2 or self.shorts[0] > self.shorts[1]):
            raise UserError(
                f"INPUT.MIN_SIZE_TRAIN {self.shorts} must be (low, high) for MIN_SIZE_TRAIN_SAMPLING 'range'"
            )
        self.long = long
        self.ratio_range = (float(low), float(high))
        self.sampling = sampling
        self.short_sampling = short_sampling

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        new_height, new_width = self.output_shape(height, width, self.draw_ratio(), short=self._draw_short())
        return ResizeTransform(height, width, new_height, new_width)

    def output_shape(self, height: int, width: int, ratio: float, *, short: int) -> tuple[int, int]:
        """(height, width) after the resize: the largest size within both limits, at least one pixel each."""
        short, long = sorted((short, self.long))
        scale = min(long * ratio / max(height, width), short * ratio / min(height, width))
        return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)

    def _draw_short(self) -> int:
        # A single limit draws no random number: the images of a run that has one stay the same.
        if len(self.shorts) == 1:
            return self.shorts[0]
        if self.short_sampling == "range":
            return int(np.random.randint(self.shorts[0], self.shorts[1] + 1))
        return int(np.random.choice(self.shorts))

    def draw_ratio(self) -> float:
        """A random ratio."""
        low, high = self.ratio_range
        if self.sampling == "log":
            return float(np.exp(np.random.uniform(np.log(low), np.log(high))))
        return float(np.random.uniform(low, high))


class ResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's `ResizeShortestEdge` for any channels; a very long and narrow image keeps a row or column."""

    def get_transform(self, image: np.ndarray) -> Transform:
        transform = super().get_transform(image)
        if isinstance(transform, T.ResizeTransform):
            height, width = max(transform.new_h, 1), max(transform.new_w, 1)
            return ResizeTransform(transform.h, transform.w, height, width, transform.interp)
        return transform


class PhotometricTransform(Transform):
    """A fixed change of brightness, contrast, saturation and hue of an 8-bit image, by lookup tables.

    Differs from Detectron2's `ColorAugSSDTransform`, which draws its values when applied, and uses floating point (3 x
    slower).
    """

    def __init__(
        self,
        *,
        image_format: str,
        brightness: float = 0.0,
        contrast: float = 1.0,
        saturation: float = 1.0,
        hue: int = 0,
        contrast_last: bool = False,
    ) -> None:
        """`brightness` is added, `contrast` and `saturation` are factors, `hue` is added in steps of two degrees."""
        super().__init__()
        levels = np.arange(256, dtype=np.float32)
        brighten = _to_uint8(levels + brightness)
        contrast_levels = _to_uint8(levels * contrast)
        self.levels_before = brighten if contrast_last else contrast_levels[brighten]
        self.levels_after = contrast_levels if contrast_last and contrast != 1.0 else None
        self.saturation_levels = _to_uint8(levels * saturation)
        self.hue_levels = ((np.arange(256) + hue) % HUE_STEPS).astype(np.uint8)
        self.changes_hsv = saturation != 1.0 or hue != 0
        bgr = image_format == "BGR"
        self.to_hsv = cv2.COLOR_BGR2HSV if bgr else cv2.COLOR_RGB2HSV
        self.from_hsv = cv2.COLOR_HSV2BGR if bgr else cv2.COLOR_HSV2RGB

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> the same."""
        img = cv2.LUT(np.ascontiguousarray(img), self.levels_before)
        if self.changes_hsv:
            identity = np.arange(256, dtype=np.uint8)
            table = np.stack([self.hue_levels, self.saturation_levels, identity], axis=-1)[None]  # (1, 256, 3)
            img = cv2.cvtColor(cv2.LUT(cv2.cvtColor(img, self.to_hsv), table), self.from_hsv)
        return img if self.levels_after is None else cv2.LUT(img, self.levels_after)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation


class PhotometricDistortion(T.Augmentation):
    """SSD's photometric distortion: four changes, each with probability 0.5; contrast is before or after the others."""

    def __init__(self, *, image_format: str, strength: float = 1.0) -> None:
        """`strength` scales SSD's ranges, from 0 (no change) to 2 (above, a factor could become negative)."""
        super().__init__()
        if not 0.0 <= strength <= 2.0:
            raise UserError(f"INPUT.PHOTOMETRIC_STRENGTH must be between 0 and 2, got {strength}")
        if image_format not in ("BGR", "RGB"):
            raise UserError(f"photometric distortion needs INPUT.FORMAT BGR or RGB, got {image_format!r}")
        self.image_format = image_format
        self.strength = strength

    def get_transform(self, image: np.ndarray) -> Transform:
        if self.strength == 0.0:
            return NoOpTransform()
        return PhotometricTransform(
            image_format=self.image_format,
            brightness=self._draw(BRIGHTNESS_DELTA),
            contrast=1.0 + self._draw(CONTRAST_DELTA),
            saturation=1.0 + self._draw(SATURATION_DELTA),
            hue=round(self._draw(HUE_DELTA)),
            contrast_last=bool(np.random.rand() < 0.5),
        )

    def _draw(self, delta: float) -> float:
        drawn = np.random.uniform(-delta, delta) * self.strength
        return float(drawn) if np.random.rand() < 0.5 else 0.0


def build_train_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """The official recipe: random resize, crop, flip and photometric distortion; config keys turn each of them off.

    Crops of rare classes, changes of light and a pipeline of the user's follow if their keys turn them on. Crops that
    are read from the file (INPUT.CROP.FROM_FILE) are neither resized nor cut.
    """
    crop = crop_settings(cfg)
    augmentations = [] if crop is not None and crop.from_file else _resize_and_crop(cfg, crop)
    if cfg.INPUT.RANDOM_FLIP != "none":
        horizontal = cfg.INPUT.RANDOM_FLIP == "horizontal"
        augmentations.append(T.RandomFlip(horizontal=horizontal, vertical=not horizontal))
    augmentations += [*_photometric(cfg), *light_augmentations(cfg)]
    if cfg.INPUT.AUGMENTATION:
        pipeline = load_pipeline(cfg.INPUT.AUGMENTATION)
        augmentations.append(OwnPipeline(pipeline, ignore_value=cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE))
    return augmentations


def random_resize(cfg: CfgNode) -> ResizeWithRatio:
    """The random resizing of training images."""
    return ResizeWithRatio(
        short=cfg.INPUT.MIN_SIZE_TRAIN,
        short_sampling=cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING,
        long=cfg.INPUT.MAX_SIZE_TRAIN,
        ratio_range=tuple(cfg.INPUT.RESIZE_RATIO_RANGE),
        sampling=cfg.INPUT.RESIZE_RATIO_SAMPLING,
    )


def _resize_and_crop(cfg: CfgNode, crop: CropSettings | None) -> list[T.Augmentation]:
    if crop is None:
        return [random_resize(cfg)]
    ignored = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    plain = MixedCrop(crop.kind, crop.size, single_category_max_area=crop.max_area, ignored_category=ignored)
    of_class = ClassCrop(
        plain,
        probability=crop.class_probability,
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        ignored=ignored,
    )
    return [random_resize(cfg), of_class if of_class.probability else plain]


def _photometric(cfg: CfgNode) -> list[T.Augmentation]:
    """The distortion of colours, or of each channel of images that are not RGB of 8 bits; none for strength 0."""
    images, strength = image_format_of(cfg), cfg.INPUT.PHOTOMETRIC_STRENGTH
    if strength == 0:
        return []
    if images.is_rgb:
        return [PhotometricDistortion(image_format=images.order, strength=strength)]
    return [ChannelDistortion(mean=cfg.MODEL.PIXEL_MEAN, std=cfg.MODEL.PIXEL_STD, strength=strength)]


def build_test_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Resize the shortest edge to `INPUT.MIN_SIZE_TEST`, at most `INPUT.MAX_SIZE_TEST`; 0 keeps the size."""
    return [ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]


def _to_uint8(levels: np.ndarray) -> np.ndarray:
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)
