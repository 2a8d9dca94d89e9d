"""Bilinear resizing of any block of a map, which gives the same bits whatever else is resized with it.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import torch

Range = tuple[int, int]  # from the first to before the second


class BilinearResize:
    """As `F.interpolate` with `align_corners=False` resizes, up to rounding: first rows, then columns.

    Subtraction, product and sum are rounded one by one: a fused operation would not be at the ends of vectors.

    Args:
        size: (H, W) of the map.
        wanted: height and width of the new map; where it is `size`, blocks are what they were.
        device: where the maps are.
    """

    def __init__(self, size: tuple[int, int], wanted: tuple[int, int], device: torch.device) -> None:
        self.size, self.wanted = (size[0], size[1]), (wanted[0], wanted[1])
        self.sources = [source_positions(*lengths) for lengths in zip(self.size, self.wanted)]
        self._on_device = [tuple(part.to(device) for part in source) for source in self.sources]

    def source_rows(self, rows: Range) -> Range:
        """The rows of the map that some rows of the new map are made of."""
        if self.size == self.wanted:
            return rows
        upper, lower, _ = self.sources[0]
        return int(upper[rows[0]]), int(lower[rows[1] - 1]) + 1

    def block(self, maps: torch.Tensor, rows: Range, columns: Range, *, first_row: int = 0) -> torch.Tensor:
        """A block of the new map.

        Args:
            maps: (..., n, W), the rows of the map from `first_row` on, as many as it takes.
            rows, columns: of the new map.

        Returns:
            (..., rows, columns).
        """
        if self.size == self.wanted:
            return maps[..., rows[0] - first_row : rows[1] - first_row, columns[0] : columns[1]]
        (upper, lower, down), (left, right, along) = (
            tuple(part[start:stop] for part in source)
            for source, (start, stop) in zip(self._on_device, (rows, columns), strict=True)
        )
        first_column, last_column = int(self.sources[1][0][columns[0]]), int(self.sources[1][1][columns[1] - 1])
        maps = maps[..., first_column : last_column + 1]
        mixed = _between(maps, -2, upper - first_row, lower - first_row, down[:, None])
        return _between(mixed, -1, left - first_column, right - first_column, along)


def _between(
    maps: torch.Tensor, axis: int, first: torch.Tensor, second: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    start = maps.index_select(axis, first)
    return maps.index_select(axis, second).sub_(start).mul_(share.to(maps.dtype)).add_(start)


def source_positions(length: int, wanted: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each new row the two rows that it lies between, and the weight of the lower, rounded as PyTorch does."""
    scale = torch.tensor(length, dtype=torch.float32) / wanted
    position = ((torch.arange(wanted, dtype=torch.float32) + 0.5) * scale - 0.5).clamp(min=0)
    upper = position.long().clamp(max=length - 1)
    return upper, (upper + 1).clamp(max=length - 1), position - upper
