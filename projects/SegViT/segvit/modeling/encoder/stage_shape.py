"""`StageShape`: channels, stride and size of an encoder's stage, with the attributes of Detectron2's `ShapeSpec`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StageShape:
    """The shape of a stage for images of the size that the encoder was built for; a `TokenSet` has channels only.

    Attributes:
        channels, height, width: of the map.
        stride: pixels per cell of the map.
        is_cell_map: whether it is a `CellMap`.
    """

    channels: int
    height: int | None = None
    width: int | None = None
    stride: int | None = None
    is_cell_map: bool = False


def map_shape(channels: int, stride: int, img_size: tuple[int, int], *, is_cell_map: bool = False) -> StageShape:
    """The shape of a map of images of `img_size`, (H, W) pixels."""
    height, width = (-(-length // stride) for length in img_size)
    return StageShape(channels, height, width, stride, is_cell_map)
