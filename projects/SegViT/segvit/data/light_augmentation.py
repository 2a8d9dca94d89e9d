"""`LightChange`: random gamma, white balance and blur, for images of another light, weather or camera (ours).

SSD's photometric distortion shifts and scales levels; dusk, shade and exposure bend them, and tint the channels.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform, Transform

from segvit.errors import UserError
from segvit.images import image_format_of

WHITE = 255.0


class LightTransform(Transform):
    """A fixed gamma and gains of the channels of an 8-bit image, and a Gaussian blur.

    Args:
        gamma: exponent of the levels between 0 and 1; above 1 darkens.
        gains: factor of each channel after that.
        sigma: of the blur, in pixels; 0 for none.
    """

    def __init__(self, *, gamma: float, gains: tuple[float, ...], sigma: float) -> None:
        super().__init__()
        levels = WHITE * (np.arange(256) / WHITE) ** gamma
        table = np.clip(np.round(levels[:, None] * np.array(gains)), 0, WHITE).astype(np.uint8)
        self.table = table[None]  # (1, 256, C)
        self.sigma = sigma

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """(H, W, C) -> the same; floating-point images are blurred only."""
        if img.dtype == np.uint8:
            img = cv2.LUT(np.ascontiguousarray(img), self.table)
        if not self.sigma:
            return img
        return cv2.GaussianBlur(img, (0, 0), self.sigma).reshape(img.shape)  # OpenCV drops a single channel

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation


class LightChange(T.Augmentation):
    """Random gamma, white balance and blur, each in half of the images.

    Args:
        gamma_range: of the exponent, whose logarithm is drawn uniformly; (1, 1) for none.
        white_balance: the gain of each channel is drawn between 1 / (1 + this) and 1 + this, its logarithm uniformly.
        blur_sigma: the largest standard deviation of the blur, in pixels.
        channels: of the images.
    """

    def __init__(
        self, *, gamma_range: tuple[float, float], white_balance: float, blur_sigma: float, channels: int = 3
    ) -> None:
        super().__init__()
        if gamma_range[0] > gamma_range[1]:
            raise UserError(f"INPUT.GAMMA_RANGE must be 0 < low <= high, got {list(gamma_range)}")
        self.gamma_range = gamma_range
        self.white_balance = white_balance
        self.blur_sigma = blur_sigma
        self.channels = channels

    def get_transform(self, image: np.ndarray) -> Transform:
        # Numbers are drawn in a fixed order, used or not: turning one change off leaves the others as they are.
        low, high = np.log(self.gamma_range)
        limit = np.log1p(self.white_balance)
        gamma = float(np.exp(np.random.uniform(low, high)))
        gains = tuple(float(gain) for gain in np.exp(np.random.uniform(-limit, limit, size=self.channels)))
        sigma = float(np.random.uniform(0, self.blur_sigma))
        bends, tints, blurs = np.random.rand(3) < 0.5
        if not (bends or tints or blurs):
            return NoOpTransform()
        return LightTransform(
            gamma=gamma if bends else 1.0,
            gains=gains if tints else self.channels * (1.0,),
            sigma=sigma if blurs else 0.0,
        )


def light_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """The `LightChange` of INPUT.GAMMA_RANGE, INPUT.WHITE_BALANCE and INPUT.BLUR_SIGMA; none if all are off.

    Raises UserError for a gamma or gains of floating-point images, whose levels have no white.
    """
    images = image_format_of(cfg)
    change = LightChange(
        gamma_range=tuple(cfg.INPUT.GAMMA_RANGE),
        white_balance=cfg.INPUT.WHITE_BALANCE,
        blur_sigma=cfg.INPUT.BLUR_SIGMA,
        channels=images.channels,
    )
    for key, is_on in (("GAMMA_RANGE", change.gamma_range != (1.0, 1.0)), ("WHITE_BALANCE", change.white_balance)):
        if is_on and images.dtype != np.uint8:
            raise UserError(
                f"INPUT.{key} changes images of INPUT.LEVELS '8bit' only, not {images.levels!r}: leave it out; "
                "INPUT.PHOTOMETRIC_STRENGTH changes each channel"
            )
    is_off = change.gamma_range == (1.0, 1.0) and not change.white_balance and not change.blur_sigma
    return [] if is_off else [change]
