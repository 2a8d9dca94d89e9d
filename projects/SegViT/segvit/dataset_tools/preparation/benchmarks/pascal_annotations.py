"""The label files of PASCAL-Context: `labels.txt` and PASCAL in Detail's `trainval_merged.json` with its masks.

Detail's own API no longer installs. Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from segvit.dataset_tools.preparation.distribution import Problem
from segvit.dataset_tools.preparation.readers import DamagedFileError
from segvit.errors import UserError

LABEL_LINE = re.compile(r"\s*(\d+)\s*:\s*(\S.*?)\s*")
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class RunLengthMasks:
    """The regions of an image, each with `category_id`, `segmentation` {size, counts} and, if known, `area`."""

    file: Path
    image_name: str
    annotations: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Detail:
    """Category id -> name, and split -> stem -> masks of the images that have annotations."""

    categories: Mapping[int, str]
    splits: Mapping[str, Mapping[str, RunLengthMasks]]


def read_label_list(path: Path) -> dict[int, str]:
    """Id -> name, from lines such as `2: aeroplane`. Raises DamagedFileError for any other line."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(path, f"not a readable list of labels ({error})") from error
    matches = [LABEL_LINE.fullmatch(line) for line in lines]
    if not matches or None in matches:
        raise DamagedFileError(path, "not a list of labels, with one line such as '2: aeroplane' per label")
    return {int(match[1]): match[2] for match in matches if match}


def check_category_names(
    path: Path,
    names: Mapping[int, str],
    expected: Sequence[tuple[int, str]],
    problems: list[Problem],
    notes: list[str],
) -> None:
    """Compare id -> name with PASCAL-Context's. A different id is a problem, a different name only a note."""
    ids = {name: index for index, name in names.items()}
    for index, name in expected:
        if names.get(index) == name:
            continue
        if name in ids:
            problems.append(Problem(path, f"label {name} has id {ids[name]}, in PASCAL-Context {index}"))
        elif index in names:
            notes.append(f"{path}: label {index} is called {names[index]}, here {name}")
        else:
            problems.append(Problem(path, f"has no label {index}, {name}"))


def read_detail_json(path: Path) -> Detail:
    """Read `images`, `annos_segmentation` and `categories`. Raises DamagedFileError if the file is malformed."""
    size = path.stat().st_size / MEGABYTE
    logging.getLogger(__name__).warning("reading %s, %.0f MB: needs several times that in memory", path, size)
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedFileError(path, f"not JSON, perhaps an incomplete download ({error})") from error
    try:
        return _index(path, content)
    except (AttributeError, KeyError, TypeError) as error:
        raise DamagedFileError(path, f"not in the format of PASCAL in Detail ({error!r})") from error


def merge_run_length_masks(masks: RunLengthMasks) -> np.ndarray:
    """(H, W) int32: the category of each pixel; 0 without a mask, the later mask where several overlap."""
    labels = None
    for annotation in masks.annotations:
        try:
            mask = _decode(annotation["segmentation"], annotation.get("area"))
            category = annotation["category_id"]
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(masks.file, f"{masks.image_name}: a mask cannot be read ({error!r})") from error
        labels = np.zeros(mask.shape, dtype=np.int32) if labels is None else labels
        if labels.shape != mask.shape:
            raise DamagedFileError(masks.file, f"{masks.image_name}: masks of different sizes")
        labels[mask] = category
    if labels is None:
        raise DamagedFileError(masks.file, f"{masks.image_name}: no annotation")
    return labels


def _index(path: Path, content: dict[str, Any]) -> Detail:
    annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annos_segmentation"]:
        # Only these keys are used; the others would be pickled for every worker process.
        used = {key: annotation[key] for key in ("category_id", "segmentation", "area") if key in annotation}
        annotations[annotation["image_id"]].append(used)
    splits: dict[str, dict[str, RunLengthMasks]] = defaultdict(dict)
    for image in content["images"]:
        if annotations[image["image_id"]]:
            stem = Path(image["file_name"]).stem
            splits[image["phase"]][stem] = RunLengthMasks(path, image["file_name"], annotations[image["image_id"]])
    return Detail({category["category_id"]: category["name"] for category in content["categories"]}, splits)


def _decode(encoded: Mapping[str, Any], area: float | None) -> np.ndarray:
    """(H, W) bool of a compressed or uncompressed COCO mask; `area` is its number of pixels, if known."""
    height, width = encoded["size"]
    if isinstance(encoded["counts"], list):
        encoded = coco_mask.frPyObjects(dict(encoded), height, width)
    mask = coco_mask.decode(encoded).astype(bool)
    if area is not None and area != mask.sum():
        raise UserError(f"it covers {mask.sum()} pixels, but its area is {area}")
    return mask
