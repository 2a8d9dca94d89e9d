"""`PanopticPng`: COCO's panoptic label maps, whose colours are the numbers of segments.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segvit.data.label_reading import read_levels
from segvit.dataset_tools.importing.source import IGNORED, UNLABELLED, Canvas, DrawingRules, Skipped
from segvit.errors import UserError
from segvit.images.channel_files import stored_form


@dataclass(frozen=True)
class PanopticPng:
    """A PNG (H, W, 3) of segment numbers red + 256 green + 65536 blue, and (number, class, is crowd) of each."""

    path: Path
    segments: Sequence[tuple[int, str, bool]]

    @property
    def size(self) -> tuple[int, int]:
        """See `Labels`; read from the file."""
        return stored_form(self.path).size

    @classmethod
    def of_annotation(cls, annotation: Mapping[str, Any], folder: Path, names: Mapping[str, str]) -> PanopticPng:
        """The labels of an entry of "annotations"; `names` has the categories by `id_text`.

        Segments of unknown categories keep the number as their class. Raises UserError if an entry lacks something.
        """
        try:
            segments = [_segment(it, names) for it in annotation["segments_info"]]
            return cls(folder / annotation["file_name"], segments)
        except KeyError as error:
            raise UserError(f"no {error}") from error

    def draw(self, size: tuple[int, int], class_ids: Mapping[str, int], rules: DrawingRules) -> Canvas:
        """See `Labels`. Numbers without a segment are unlabelled."""
        levels = read_levels(self.path)
        if levels.ndim != 3 or levels.shape[:2] != size:
            raise UserError(f"{self.path}: not a colour image of {size[1]} x {size[0]} pixels, as its image")
        red, green, blue = (levels[..., channel].astype(np.int64) for channel in range(3))
        numbers, indices = np.unique(red + 256 * green + 65536 * blue, return_inverse=True)
        canvas_ids = {}
        skipped = []
        for number, name, is_crowd in self.segments:
            if name not in class_ids:
                skipped.append(Skipped(f"segment {number}", f"class {name!r} is not in the list of classes"))
                continue
            canvas_ids[number] = IGNORED if is_crowd and rules.crowd == "ignored" else class_ids[name]
        table = np.array([canvas_ids.get(int(number), UNLABELLED) for number in numbers], dtype=np.int32)
        return Canvas(table[indices].reshape(size), skipped)


def _segment(entry: Mapping[str, Any], names: Mapping[str, str]) -> tuple[int, str, bool]:
    category = id_text(entry["category_id"])
    return int(entry["id"]), names.get(category, f"category {category}"), bool(entry.get("iscrowd"))


def id_text(value: Any) -> str:
    """An id as text: tools write 7, 7.0 and "7" for the same one."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def segment_folder(path: Path) -> Path:
    """The folder of the PNGs of a panoptic JSON: its name without the extension, or the folder that it is in."""
    return path.with_suffix("") if path.with_suffix("").is_dir() else path.parent
