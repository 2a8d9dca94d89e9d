"""From a data set's dict to what the model trains on.

Shape shorthand in this module: H x W: pixels after augmentation; K: classes.
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
from segvit.data.image_reading import read_image, read_label_map
from segvit.data.relabelling import Relabelling
from segvit.errors import UserError


class SegViTSemanticDatasetMapper:
    """Read an image and its label map, and augment both.

    In training the returned dict holds, beside the input's own keys (without `sem_seg_file_name`):
    `image` uint8 (3, H, W) in `INPUT.FORMAT` and `sem_seg` int64 (H, W). Nothing is padded: sizes differ where the crop
    does not fit. Masks of classes are made of the label map where the model is, and not by the loader's workers.
    Otherwise it holds the resized `image` and the input's keys. `height` and `width` are the original size in both.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: list[T.Augmentation],
        image_format: str,
        num_classes: int,
        ignore_value: int,
        relabelling: Relabelling | None = None,
    ) -> None:
        """
        Args:
            is_train: also read the label map.
            augmentations: of image and label map together.
            image_format: order of the channels, such as "RGB".
            num_classes: K; the data set's ids lie below, unless they are relabelled.
            ignore_value: the label without a class.
            relabelling: of the data set's ids, before the augmentations; by default they are the labels.
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.num_classes = num_classes
        self.ignore_value = ignore_value
        self.relabelling = relabelling
        mode = "training" if is_train else "inference"
        logging.getLogger(__name__).info("Augmentations used in %s: %s", mode, augmentations)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        ignore_value, labels = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE, training_labels(cfg) if is_train else None
        return {
            "is_train": is_train,
            "augmentations": build_train_augmentations(cfg) if is_train else build_test_augmentations(cfg),
            "image_format": cfg.INPUT.FORMAT,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "ignore_value": ignore_value,
            "relabelling": None if labels is None else Relabelling(labels, ignore_value=ignore_value),
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map a dict with `file_name` and, in training, `sem_seg_file_name`; the input dict stays as it is.

        Raises OSError or ValueError, naming the file, for what `image_reading` cannot read, label ids outside 0..K-1,
        or a label map whose size differs from its image's.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        image = read_image(dataset_dict["file_name"], format=self.image_format)
        detection_utils.check_image_size(dataset_dict, image)
        label_map = self._read_label_map(dataset_dict, image.shape[:2]) if self.is_train else None

        aug_input = T.AugInput(image, sem_seg=label_map)
        self.augmentations(aug_input)
        dataset_dict["image"] = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        if label_map is not None:
            dataset_dict["sem_seg"] = torch.from_numpy(np.ascontiguousarray(aug_input.sem_seg, dtype=np.int64))
        return dataset_dict

    def _read_label_map(self, dataset_dict: dict[str, Any], image_size: tuple[int, int]) -> np.ndarray:
        """Take `sem_seg_file_name` out of the dict -> (H, W) uint8, or float32 (exact below 2 ** 24) for wider ids."""
        if "sem_seg_file_name" not in dataset_dict:
            raise UserError(f"{dataset_dict['file_name']}: no sem_seg_file_name, so there is no label map to train on")
        file_name = dataset_dict.pop("sem_seg_file_name")
        label_map = read_label_map(file_name)
        if label_map.shape != image_size:
            turned = label_map.shape == image_size[::-1]
            hint = "; images are read upright, as their EXIF data say: turn the label map, too" if turned else ""
            raise UserError(
                f"{file_name}: the label map is {label_map.shape[1]} x {label_map.shape[0]} pixels, "
                f"its image {dataset_dict['file_name']} {image_size[1]} x {image_size[0]}{hint}"
            )
        self._check_ids(label_map, file_name)
        if self.relabelling is not None:
            label_map = self.relabelling(label_map)
        # Detectron2's transforms resize uint8 and floating-point arrays only.
        return label_map.astype(np.uint8 if label_map.dtype in (np.uint8, np.bool_) else np.float32)

    def _check_ids(self, label_map: np.ndarray, file_name: str) -> None:
        num_ids = self.relabelling.num_ids if self.relabelling is not None else self.num_classes
        ids = np.unique(label_map).astype(np.int64)
        wrong = ids[((ids < 0) | (ids >= num_ids)) & (ids != self.ignore_value)]
        if wrong.size:
            raise UserError(
                f"{file_name}: label ids {wrong.tolist()} are neither in 0..{num_ids - 1} nor the ignore "
                f"value {self.ignore_value}; correct the label map, or set MODEL.SEM_SEG_HEAD.NUM_CLASSES "
                f"(now {self.num_classes}) or MODEL.SEM_SEG_HEAD.IGNORE_VALUE to match it"
            )
