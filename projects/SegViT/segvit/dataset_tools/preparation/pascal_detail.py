"""Reads `trainval_merged.json`, the annotations of PASCAL in Detail, without its API, which no longer installs."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segvit.dataset_tools.preparation.damaged_file import DamagedFileError
from segvit.dataset_tools.preparation.run_length_masks import RunLengthMasks

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Detail:
    """Category id -> name, and split -> stem -> masks, without pictures that have no annotation."""

    categories: Mapping[int, str]
    splits: Mapping[str, Mapping[str, RunLengthMasks]]


def read_detail_json(path: Path) -> Detail:
    """Read the keys `images`, `annos_segmentation` and `categories`. Raises DamagedFileError where it cannot."""
    size = path.stat().st_size / MEGABYTE
    logging.getLogger(__name__).warning("reading %s, %.0f MB: several times that in memory", path, size)
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedFileError(path, f"not JSON, perhaps a download that was cut short ({error})") from error
    try:
        return _index(path, content)
    except (AttributeError, KeyError, TypeError) as error:
        raise DamagedFileError(path, f"not laid out as PASCAL in Detail's annotations are ({error!r})") from error


def _index(path: Path, content: dict[str, Any]) -> Detail:
    annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annos_segmentation"]:
        # What else an annotation holds would only travel to the processes for nothing.
        kept = {key: annotation[key] for key in ("category_id", "segmentation", "area") if key in annotation}
        annotations[annotation["image_id"]].append(kept)
    splits: dict[str, dict[str, RunLengthMasks]] = defaultdict(dict)
    for image in content["images"]:
        if annotations[image["image_id"]]:
            stem = Path(image["file_name"]).stem
            splits[image["phase"]][stem] = RunLengthMasks(path, image["file_name"], annotations[image["image_id"]])
    return Detail({category["category_id"]: category["name"] for category in content["categories"]}, splits)
