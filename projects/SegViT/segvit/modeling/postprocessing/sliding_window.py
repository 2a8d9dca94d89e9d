"""Segmentation of an image by overlapping windows (the official release's `slide` mode).

Shape shorthand: H x W pixels of the image, h x w of a window, B windows of a batch, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch

from segvit.errors import UserError
from segvit.modeling.postprocessing.row_bands import band_ranges

Scorer = Callable[[torch.Tensor], torch.Tensor]


class SlidingWindow:
    """Segments windows of an image and averages the scores where they overlap.

    Windows stand at multiples of the stride; the last of a row or column is shifted back to the border. An image lower
    or narrower than a window has windows as low or narrow as itself.

    Args:
        size: (h, w) in pixels.
        stride: rows and columns from one window to the next.
        batch_size: windows that are scored together.
        accumulate_on_cpu: keep the sums, and give the scores, in main memory.

    Raises:
        UserError: for a stride that is not positive or leaves gaps between windows, or an empty batch.
    """

    def __init__(self, *, size: Sequence[int], stride: Sequence[int], batch_size: int, accumulate_on_cpu: bool) -> None:
        if not (len(size) == len(stride) == 2 and all(0 < step <= edge for step, edge in zip(stride, size))):
            raise UserError(
                f"TEST.WINDOW.STRIDE {list(stride)} must be two numbers from 1 to those of TEST.WINDOW.SIZE "
                f"{list(size)}: windows farther apart than they are large leave gaps"
            )
        if batch_size < 1:
            raise UserError(f"TEST.WINDOW.BATCH_SIZE {batch_size} must be at least 1")
        self.size = (size[0], size[1])
        self.stride = (stride[0], stride[1])
        self.batch_size = batch_size
        self.accumulate_on_cpu = accumulate_on_cpu

    def bands(self, image: torch.Tensor, scorer: Scorer) -> Iterator[torch.Tensor]:
        """Score an image.

        Args:
            image: (C, H, W).
            scorer: windows (B, C, h, w) to scores (B, K, h, w).

        Yields:
            (K, rows, W): rows of scores, from top to bottom, as soon as no further window touches them.
        """
        height, width = image.shape[-2:]
        size = (min(self.size[0], height), min(self.size[1], width))
        tops, lefts = window_starts(height, size[0], self.stride[0]), window_starts(width, size[1], self.stride[1])
        corners, sums = itertools.product(tops, lefts), None
        while batch := list(itertools.islice(corners, self.batch_size)):
            windows = [image[:, top : top + size[0], left : left + size[1]] for top, left in batch]
            scores = scorer(torch.stack(windows))
            if self.accumulate_on_cpu:
                scores = scores.cpu()
            if sums is None:
                sums = _RowSums(scores[0], tops=tops, lefts=lefts, image_size=(height, width))
            for (top, left), window in zip(batch, scores, strict=True):
                yield from sums.means_above(top)
                sums.add(window, left)
            del scores, window  # the next batch needs their memory
        yield from sums.means_above(height)


def window_starts(length: int, size: int, stride: int) -> list[int]:
    """First rows (or columns) of windows that cover `length`, which is not below `size`, without a gap."""
    count = -(-(length - size) // stride) + 1
    return [min(index * stride, length - size) for index in range(count)]


class _RowSums:
    """Sums of the scores in those rows of the image that further windows may touch: h rows that move down it.

    Args:
        like: the scores (K, h, w) of a window, for shape, type and device.
        tops, lefts: first rows and columns of all windows.
        image_size: (H, W).
    """

    def __init__(self, like: torch.Tensor, *, tops: list[int], lefts: list[int], image_size: tuple[int, int]) -> None:
        num_classes, height, width = like.shape
        self._sums = like.new_zeros(num_classes, height, image_size[1])
        self._first = 0  # the row of the image that the first row of the sums is
        self._windows_by_row = _coverage(tops, height, image_size[0]).to(like)
        self._windows_by_column = _coverage(lefts, width, image_size[1]).to(like)

    def add(self, window: torch.Tensor, left: int) -> None:
        """Add a window (K, h, w) whose first row is the first of the sums."""
        self._sums[:, :, left : left + window.shape[2]] += window

    def means_above(self, row: int) -> Iterator[torch.Tensor]:
        """Yield the means of all rows above one of the image, (K, rows, W) at a time, and move on to that row."""
        finished = row - self._first
        for start, stop in band_ranges(len(self._sums), (finished, self._sums.shape[2])):
            windows = self._windows_by_row[self._first + start : self._first + stop, None] * self._windows_by_column
            yield self._sums[:, start:stop] / windows
        if finished:
            self._move_down(finished)
            self._first = row

    def _move_down(self, rows: int) -> None:
        """In place and by pieces that do not overlap their source: a second buffer would double the memory."""
        height = self._sums.shape[1]
        for start in range(0, height - rows, rows):
            stop = min(start + rows, height - rows)
            self._sums[:, start:stop] = self._sums[:, start + rows : stop + rows]
        self._sums[:, height - rows :] = 0


def _coverage(starts: list[int], size: int, length: int) -> torch.Tensor:
    """(length,) float: how many windows cover each row or column."""
    counts = torch.zeros(length)
    for start in starts:
        counts[start : start + size] += 1
    return counts
