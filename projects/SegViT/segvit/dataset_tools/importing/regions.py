"""`Regions`: the labels of an image as objects, drawn over each other.

Shape shorthand: H x W pixels of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvit.dataset_tools.importing.shapes import Placed
from segvit.dataset_tools.importing.source import (
    IGNORED,
    UNLABELLED,
    Canvas,
    DrawingRules,
    ReadOptions,
    Region,
    Skipped,
    Source,
    SourceImage,
)
from segvit.dataset_tools.preparation.readers import DamagedFileError
from segvit.errors import UserError


@dataclass(frozen=True)
class Regions:
    """Objects in the order of the file.

    Objects with a higher `order` are drawn later; those of equal order as listed. What is drawn later wins.
    """

    regions: Sequence[Region]
    size: tuple[int, int] | None = None

    def draw(self, size: tuple[int, int], class_ids: Mapping[str, int], rules: DrawingRules) -> Canvas:
        """See `Labels`. An object that is malformed is left out and listed; an unreadable file is an error."""
        canvas = Canvas(np.full(size, UNLABELLED, dtype=np.int32))
        drawn: list[tuple[Region, Placed]] = []
        for region in self.regions:
            if region.class_name not in class_ids:
                canvas.skipped.append(
                    Skipped(region.what, f"class {region.class_name!r} is not in the list of classes")
                )
                continue
            try:
                placed = region.shape.place(size).cut(size)
            except DamagedFileError:
                raise
            except UserError as error:
                canvas.skipped.append(Skipped(region.what, str(error)))
                continue
            if placed.mask.any():
                drawn.append((region, placed))
            elif not region.may_be_empty:
                canvas.skipped.append(Skipped(region.what, f"covers no pixel of the image of {size[1]} x {size[0]}"))
        if rules.overlap == "smaller":
            drawn.sort(key=lambda item: -int(item[1].mask.sum()))
        else:
            drawn.sort(key=lambda item: item[0].order)
        for region, (mask, left, top) in drawn:
            is_ignored = region.is_crowd and rules.crowd == "ignored"
            view = canvas.ids[top : top + mask.shape[0], left : left + mask.shape[1]]
            view[mask] = IGNORED if is_ignored else class_ids[region.class_name]
        return canvas


def add_unannotated(
    source: Source, key: str, path: Path, options: ReadOptions, *, lacks: str = "no annotation", split: str = ""
) -> None:
    """Add an image that nothing labels: as background by --unannotated background, else to what is skipped."""
    if options.unannotated == "background":
        source.images.append(SourceImage(key, path, Regions([]), split))
    else:
        source.skipped.append(Skipped(key, f"{lacks}; --unannotated background takes it as background"))
