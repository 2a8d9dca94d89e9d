"""`SegViTSemanticDatasetMapper`: from a dataset record to a model input; `build_mapper` makes that of a config.

Shape shorthand: H x W pixels after augmentation, C channels, K classes.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils
from detectron2.data import transforms as T

from segvit.config.continual_step import training_labels
from segvit.data.augmentation import build_test_augmentations, build_train_augmentations
from segvit.data.file_crop import FileCrop, build_file_crop
from segvit.data.label_reading import Relabelling, ids_in, read_label_map, require_ids
from segvit.errors import UserError
from segvit.images import ImageFormat, image_format_of

MAPPER_NAME = "segvit_semantic"


class SegViTSemanticDatasetMapper:
    """Read an image and, for training, its label map; augment both.

    The returned dict has the keys of the record and

    - `image`: (C, H, W) in the `ImageFormat` of the config: uint8, or float32 (INPUT.LEVELS);
    - `height`, `width`: the original size of the image;
    - `sem_seg`: (H, W) uint8, or int32 for ids above 255; in training only, in place of `sem_seg_file_name`;
    - `sem_seg_ids`: (n,) int64, the ids that occur in `sem_seg`, in ascending order.

    Nothing is padded: H x W is below the crop size for small images. Class masks are made from `sem_seg` on the model's
    device, not in the workers. Small types are copied to a GPU in less time, and ids that the host knows let it go on
    without waiting for the GPU.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: list[T.Augmentation],
        image_format: ImageFormat,
        num_classes: int,
        ignore_value: int,
        relabelling: Relabelling | None = None,
        file_crop: FileCrop | None = None,
    ) -> None:
        """
        Args:
            is_train: also read the label map.
            augmentations: applied to image and label map together.
            image_format: channels and levels of the images.
            num_classes: K; without `relabelling`, the dataset's ids are 0 to K - 1.
            ignore_value: the label of ignored pixels.
            relabelling: maps the dataset's ids to labels before the augmentations; by default the ids are the labels.
            file_crop: reads a part of each training image; by default images are read as a whole.
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.num_classes = num_classes
        self.ignore_value = ignore_value
        self.relabelling = relabelling
        self.file_crop = file_crop
        mode = "training" if is_train else "inference"
        logging.getLogger(__name__).info("Augmentations used in %s: %s", mode, augmentations)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        ignore_value = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        labels = training_labels(cfg) if is_train else None
        return {
            "is_train": is_train,
            "augmentations": build_train_augmentations(cfg) if is_train else build_test_augmentations(cfg),
            "image_format": image_format_of(cfg),
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "ignore_value": ignore_value,
            "file_crop": build_file_crop(cfg) if is_train else None,
            "relabelling": None if labels is None else Relabelling(labels, ignore_value=ignore_value),
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map a record with `file_name` and, in training, `sem_seg_file_name`. The record is not modified.

        Raises:
            OSError: a file cannot be opened.
            UserError: a file is unreadable, an id is out of range, or the sizes of image, record and label map differ;
                names the file.
        """
        # Read the image and its label map, and check that they fit each other.
        dataset_dict = copy.deepcopy(dataset_dict)
        label_map: np.ndarray | None
        if self.file_crop is not None:
            image, label_map = self._read_crop(dataset_dict, self.file_crop)
        else:
            image = self.image_format.read(dataset_dict["file_name"])
            _check_image_size(dataset_dict, image)
            label_map = self._read_label_map(dataset_dict, image.shape[:2]) if self.is_train else None

        # Augment both, and convert them to tensors.
        aug_input = T.AugInput(image, sem_seg=label_map)
        self.augmentations(aug_input)
        dataset_dict["image"] = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        if label_map is not None:
            labels = aug_input.sem_seg if aug_input.sem_seg.dtype == np.uint8 else aug_input.sem_seg.astype(np.int32)
            dataset_dict["sem_seg"] = torch.from_numpy(np.array(labels))  # a writable copy
            dataset_dict["sem_seg_ids"] = torch.from_numpy(ids_in(labels))
        return dataset_dict

    def _read_crop(self, dataset_dict: dict[str, Any], file_crop: FileCrop) -> tuple[np.ndarray, np.ndarray]:
        """A part of the image and of its label map, as `_read_label_map` returns it."""
        file_name = _pop_label_file(dataset_dict)
        crop = file_crop.read(dataset_dict["file_name"], file_name)
        dataset_dict["height"], dataset_dict["width"] = crop.size
        return crop.image, self._labels(crop.label_map, file_name)

    def _read_label_map(self, dataset_dict: dict[str, Any], image_size: tuple[int, int]) -> np.ndarray:
        """Pop `sem_seg_file_name` -> (H, W) uint8, or float32 (exact below 2 ** 24) for ids above 255."""
        file_name = _pop_label_file(dataset_dict)
        label_map = read_label_map(file_name)
        if label_map.shape != image_size:
            rotated = label_map.shape == image_size[::-1]
            hint = "; images are read with their EXIF rotation: rotate the label map, too" if rotated else ""
            raise UserError(
                f"{file_name}: the label map is {label_map.shape[1]} x {label_map.shape[0]} pixels, "
                f"its image {dataset_dict['file_name']} is {image_size[1]} x {image_size[0]}{hint}"
            )
        return self._labels(label_map, file_name)

    def _labels(self, label_map: np.ndarray, file_name: str) -> np.ndarray:
        """Stored ids as labels, after a check."""
        num_ids = self.relabelling.num_ids if self.relabelling is not None else self.num_classes
        require_ids(label_map, file_name, num_ids=num_ids, ignore_value=self.ignore_value)
        if self.relabelling is not None:
            label_map = self.relabelling(label_map)
        # Detectron2's transforms resize only uint8 and floating-point arrays.
        return label_map.astype(np.uint8 if label_map.dtype in (np.uint8, np.bool_) else np.float32)


def _pop_label_file(record: dict[str, Any]) -> str:
    if "sem_seg_file_name" not in record:
        raise UserError(f"{record['file_name']}: the record has no sem_seg_file_name, which training needs")
    return record.pop("sem_seg_file_name")


def _check_image_size(record: dict[str, Any], image: np.ndarray) -> None:
    """Check `width` and `height` of a record, or set them."""
    try:
        detection_utils.check_image_size(record, image)
    except detection_utils.SizeMismatchError as error:
        raise UserError(
            f"{record['file_name']}: the image is {image.shape[1]} x {image.shape[0]} pixels, its dataset record has "
            f"{record['width']} x {record['height']}: correct the record, or remove its width and height"
        ) from error


def build_mapper(cfg: CfgNode, *, is_train: bool) -> SegViTSemanticDatasetMapper:
    """Build the mapper INPUT.DATASET_MAPPER_NAME (MaskFormer's key). Raises UserError if the name is not ours."""
    name = cfg.INPUT.DATASET_MAPPER_NAME
    if name != MAPPER_NAME:
        raise UserError(f"INPUT.DATASET_MAPPER_NAME {name!r} is unknown: the only mapper is {MAPPER_NAME!r}")
    return SegViTSemanticDatasetMapper(cfg, is_train=is_train)
