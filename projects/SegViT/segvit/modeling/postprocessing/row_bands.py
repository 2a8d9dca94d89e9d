"""Maps of scores that exist a band of rows at a time.

The scores of a large image do not fit into memory: 150 classes at 4000 x 6000 pixels are 14 GB. An iterator of bands
(K, rows, W), from the top of the image to its bottom, stands for such a map here.

Shape shorthand: K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from segvit.modeling.postprocessing.argmax import winning_classes
from segvit.modeling.postprocessing.bilinear_resize import BilinearResize

ELEMENTS_PER_BAND = 2**21  # 8 MiB of float32, half the time of 64 MiB on a CPU: a band stays in its cache


def band_ranges(num_classes: int, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """First row, and row behind the last, of bands of moderate size that cover a map of (H, W) pixels."""
    rows = max(1, ELEMENTS_PER_BAND // (num_classes * size[1]))
    for start in range(0, size[0], rows):
        yield start, min(start + rows, size[0])


class RowReader:
    """Reads any rows of a banded map, in order; what lies above the rows read last is forgotten."""

    def __init__(self, bands: Iterable[torch.Tensor]) -> None:
        self._bands = iter(bands)
        self._held = next(self._bands)
        self._first = 0  # the row of the map that the first row held is

    @property
    def num_classes(self) -> int:
        return len(self._held)

    @property
    def device(self) -> torch.device:
        return self._held.device

    def read(self, start: int, stop: int) -> torch.Tensor:
        """(K, stop - start, W): the rows from `start`, never above those of earlier calls, to before `stop`."""
        parts, end = [self._held], self._first + self._held.shape[1]
        while end < stop:
            parts.append(next(self._bands))
            end += parts[-1].shape[1]
        self._held = torch.cat(parts, dim=1) if len(parts) > 1 else self._held
        self._held, self._first = self._held[:, start - self._first :], start
        return self._held[:, : stop - start]


def resize_bands(
    bands: Iterable[torch.Tensor], size: tuple[int, int], wanted: tuple[int, int]
) -> Iterator[torch.Tensor]:
    """Bands of the bilinearly resized map, as `F.interpolate` with `align_corners=False` gives it.

    Args:
        bands: (K, rows, W) each.
        size: (H, W) of the map that the bands make up.
        wanted: height and width of the new map; where it is `size`, the bands are passed on as they are.
    """
    if tuple(size) == tuple(wanted):
        yield from bands
        return
    reader = RowReader(bands)
    resize = BilinearResize(size, wanted, reader.device)
    for start, stop in band_ranges(reader.num_classes, wanted):
        first, last = resize.source_rows((start, stop))
        rows = reader.read(first, last)
        # A class at a time, as much as a processor's cache holds; a GPU is faster with all of them at once.
        groups = rows.split(1) if rows.device.type == "cpu" else [rows]
        yield torch.cat([resize.block(group, (start, stop), (0, wanted[1]), first_row=first) for group in groups])


def mean_bands(maps: Sequence[Iterable[torch.Tensor]], size: tuple[int, int]) -> Iterator[torch.Tensor]:
    """Bands of the mean of several banded maps of (H, W) pixels, which are read side by side."""
    readers = [RowReader(bands) for bands in maps]
    for start, stop in band_ranges(readers[0].num_classes, size):
        yield sum(reader.read(start, stop) for reader in readers) / len(readers)


def join_bands(bands: Iterable[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    """The whole map: (K, H, W) of `size`."""
    scores, row = None, 0
    for band in bands:
        if scores is None:
            if tuple(band.shape[1:]) == tuple(size):
                return band
            scores = band.new_empty(len(band), *size)
        scores[:, row : row + band.shape[1]] = band
        row += band.shape[1]
    return scores


def labels_of_bands(
    bands: Iterable[torch.Tensor], size: tuple[int, int], dtype: torch.dtype = torch.int64
) -> torch.Tensor:
    """(H, W) of `size` and `dtype`: the class with the highest score at every pixel. No two bands exist at a time."""
    labels, row = None, 0
    for band in bands:
        won = winning_classes(band).to(dtype)
        if tuple(won.shape) == tuple(size):
            return won
        labels = won.new_empty(*size) if labels is None else labels
        labels[row : row + len(won)] = won
        row += len(won)
        del band  # before the next one is made
    return labels
