"""`StageShape`: channels, stride and size of a backbone's stage, with the attributes of Detectron2's `ShapeSpec`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StageShape:
    """The shape of a stage for images of the backbone's `img_size`; a `TokenSet` has channels only."""

    channels: int
    height: int | None = None
    width: int | None = None
    stride: int | None = None
