"""Label maps that are stored as one run-length-encoded mask per region, as in COCO's and PASCAL in Detail's JSON.

Shape shorthand in this module: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from segvit.dataset_tools.preparation.damaged_file import DamagedFileError
from segvit.errors import UserError


@dataclass(frozen=True)
class RunLengthMasks:
    """The annotations of an image, each with `category_id`, `segmentation` {size, counts} and, if known, `area`."""

    file: Path
    image_name: str
    annotations: Sequence[Mapping[str, Any]]


def merge_run_length_masks(masks: RunLengthMasks) -> np.ndarray:
    """(H, W) int32: the category of each pixel, the later one where masks overlap, and 0 where there is none."""
    labels = None
    for annotation in masks.annotations:
        try:
            mask, category = _decode(annotation["segmentation"], annotation.get("area")), annotation["category_id"]
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(masks.file, f"{masks.image_name}: a mask cannot be read ({error!r})") from error
        labels = np.zeros(mask.shape, dtype=np.int32) if labels is None else labels
        if labels.shape != mask.shape:
            raise DamagedFileError(masks.file, f"{masks.image_name}: masks of different sizes")
        labels[mask] = category
    if labels is None:
        raise DamagedFileError(masks.file, f"{masks.image_name}: no annotation")
    return labels


def _decode(encoded: Mapping[str, Any], area: float | None) -> np.ndarray:
    height, width = encoded["size"]
    counts = encoded["counts"]
    if isinstance(counts, list):
        encoded = coco_mask.frPyObjects(dict(encoded), height, width)
    mask = coco_mask.decode(encoded).astype(bool)
    if area is not None and area != mask.sum():
        raise UserError(f"it covers {mask.sum()} pixels, and {area} by its own account")
    return mask
