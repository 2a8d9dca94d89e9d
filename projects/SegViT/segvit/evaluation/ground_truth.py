"""`GroundTruth`: the label maps that predictions on a dataset are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from torch import Tensor

from segvit.data.label_reading import Relabelling, read_label_map, require_ids
from segvit.errors import UserError


class GroundTruth:
    """The label maps of a registered dataset, found by image and checked.

    Args:
        dataset_name: of the dataset; it is asked only for records that do not name their label map.
        num_classes: ids from 0 to num_classes - 1 are valid, unless there is a `relabelling`.
        ignore_label: an id that is valid, too.
        relabelling: maps the ids of the files to those of the predictions.
    """

    def __init__(
        self, dataset_name: str, *, num_classes: int, ignore_label: int, relabelling: Relabelling | None
    ) -> None:
        self._dataset_name = dataset_name
        self._num_ids = num_classes if relabelling is None else relabelling.num_ids
        self._ignore_label = ignore_label
        self._relabelling = relabelling

    @cached_property
    def file_by_image(self) -> dict[str, str]:
        """The label map's file by the image's file, of all images of the dataset."""
        return {record["file_name"]: record["sem_seg_file_name"] for record in DatasetCatalog.get(self._dataset_name)}

    def file_of(self, record: Mapping[str, Any]) -> str:
        """The file of a record's label map: its `sem_seg_file_name`, or that of its `file_name` in the dataset.

        Raises:
            UserError: the dataset does not have this image.
        """
        if "sem_seg_file_name" in record:
            return record["sem_seg_file_name"]
        if record["file_name"] not in self.file_by_image:
            raise UserError(f"{record['file_name']}: no ground truth in dataset {self._dataset_name!r}")
        return self.file_by_image[record["file_name"]]

    def read(self, path: str) -> Tensor:
        """(H, W) int64 class ids of a label map. Raises UserError, which names the file, for an id out of range."""
        labels = read_label_map(path)
        require_ids(labels, path, num_ids=self._num_ids, ignore_value=self._ignore_label)
        if self._relabelling is not None:
            labels = self._relabelling(labels)
        return torch.from_numpy(labels.astype(np.int64))
