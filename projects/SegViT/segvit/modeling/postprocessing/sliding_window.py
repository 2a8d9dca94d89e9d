"""`SlidingWindow`: score overlapping windows of an image and average them (the `slide` mode of the official release).

Shape shorthand: H x W pixels of the image, h x w of a window, B windows of a batch, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch

from segvit.errors import ArgumentError
from segvit.modeling.postprocessing.image_sizes import Size
from segvit.modeling.postprocessing.score_bands import Range, band_ranges
from segvit.modeling.tokens import send

Scorer = Callable[[torch.Tensor], Sequence[torch.Tensor]]
# First row and column, height and width of a window, and the columns of all windows in its rows -> the window.
WindowReader = Callable[[int, int, int, int, Range], torch.Tensor]


class SlidingWindow:
    """Scores windows of an image and averages the scores where they overlap.

    Windows lie at multiples of the stride; the last of a row or column is shifted back to the border. An image lower or
    narrower than a window has windows as low or narrow as itself.

    Args:
        size: (h, w) of a window in pixels.
        stride: rows and columns from one window to the next.
        batch_size: windows that are scored together.
        accumulate_on_cpu: keep the sums, and return the scores, in main memory.

    Raises:
        ArgumentError: for a stride that is not positive or leaves gaps between windows, or an empty batch.
    """

    def __init__(self, *, size: Sequence[int], stride: Sequence[int], batch_size: int, accumulate_on_cpu: bool) -> None:
        if len(size) != 2 or min(size) < 1:
            raise ArgumentError("size", f"{list(size)} must be two positive numbers, height and width in pixels")
        if not (len(stride) == 2 and all(0 < step <= edge for step, edge in zip(stride, size))):
            raise ArgumentError(
                "stride",
                f"{list(stride)} must be two numbers from 1 to those of the window size {list(size)}: larger strides "
                "leave gaps between windows",
            )
        if batch_size < 1:
            raise ArgumentError("batch_size", f"{batch_size} must be at least 1")
        self.size = (size[0], size[1])
        self.stride = (stride[0], stride[1])
        self.batch_size = batch_size
        self.accumulate_on_cpu = accumulate_on_cpu

    def bands(self, image: torch.Tensor, scorer: Scorer) -> Iterator[torch.Tensor]:
        """Score an image.

        Args:
            image: (C, H, W).
            scorer: windows (B, C, h, w) to the scores (K, h, w) of each.

        Yields:
            (K, rows, W): bands of averaged scores from top to bottom, each as soon as no further window overlaps it.
        """
        height, width = image.shape[-2:]

        def read(top: int, left: int, height: int, width: int, columns: Range) -> torch.Tensor:
            return image[:, top : top + height, left : left + width]

        yield from self.bands_of(read, (height, width), scorer, columns=(0, width))

    def bands_of(
        self, read: WindowReader, image_size: Size, scorer: Scorer, *, columns: Range
    ) -> Iterator[torch.Tensor]:
        """Score some columns of an image that need not be in memory, by all windows that meet them.

        Args:
            read: returns a window (C, h, w) of its first row and column, h and w, and, for readers ahead, the columns
                that all windows in these rows cover.
            image_size: (H, W).
            scorer: windows (B, C, h, w) to the scores (K, h, w) of each.
            columns: the range of columns.

        Yields:
            (K, rows, columns): bands of averaged scores from top to bottom, as `bands` does.
        """
        height, width = image_size
        size = (min(self.size[0], height), min(self.size[1], width))
        tops = window_starts(height, size[0], self.stride[0])
        all_lefts = window_starts(width, size[1], self.stride[1])
        lefts = [left for left in all_lefts if left < columns[1] and left + size[1] > columns[0]]
        columns_read = (lefts[0], lefts[-1] + size[1])
        corners = itertools.product(tops, lefts)
        sums = None
        while batch := list(itertools.islice(corners, self.batch_size)):
            # Score a batch of windows.
            windows = [read(top, left, size[0], size[1], columns_read) for top, left in batch]
            scores = scorer(torch.stack(windows))
            if self.accumulate_on_cpu:
                scores = [window.cpu() for window in scores]
            if sums is None:
                sums = _RowSums(scores[0], tops=tops, lefts=all_lefts, image_size=image_size, columns=columns)
            # Add them; rows above the next window are finished.
            for (top, left), window in zip(batch, scores, strict=True):
                yield from sums.means_above(top)
                sums.add(window, left)
            del scores, window  # free them before the next batch
        if sums is not None:
            yield from sums.means_above(height)


def window_starts(length: int, size: int, stride: int) -> list[int]:
    """First rows (or columns) of windows of `size` <= `length` that cover `length` without gaps."""
    count = -(-(length - size) // stride) + 1
    return [min(index * stride, length - size) for index in range(count)]


class _RowSums:
    """Sums of scores in the rows that further windows may overlap: a strip of h rows that moves down the image.

    Args:
        like: the scores (K, h, w) of a window, for shape, dtype and device.
        tops, lefts: first rows and columns of all windows.
        image_size: (H, W).
        columns: the range of columns that are added up.
    """

    def __init__(
        self, like: torch.Tensor, *, tops: list[int], lefts: list[int], image_size: Size, columns: Range
    ) -> None:
        num_classes, height, width = like.shape
        self._columns = columns
        self._sums = like.new_zeros(num_classes, height, columns[1] - columns[0])
        self._first_row = 0  # the strip's first row in the image
        self._windows_by_row = _count_windows(tops, height, image_size[0], like)
        self._windows_by_column = _count_windows(lefts, width, image_size[1], like)[slice(*columns)]

    def add(self, window: torch.Tensor, left: int) -> None:
        """Add a window (K, h, w) at the top of the strip."""
        first, last = self._columns
        start, stop = max(left, first), min(left + window.shape[2], last)
        self._sums[:, :, start - first : stop - first] += window[:, :, start - left : stop - left]

    def means_above(self, row: int) -> Iterator[torch.Tensor]:
        """Yield bands (K, rows, W) of means of all rows above `row` of the image, and move the strip down to it."""
        finished = row - self._first_row
        size = (finished, self._sums.shape[2])
        for start, stop in band_ranges(len(self._sums), size, self._sums.device):
            windows_by_row = self._windows_by_row[self._first_row + start : self._first_row + stop, None]
            yield self._sums[:, start:stop] / (windows_by_row * self._windows_by_column)
        if finished:
            self._move_down(finished)
            self._first_row = row

    def _move_down(self, rows: int) -> None:
        """In place, by pieces that do not overlap their source: a second buffer would double the memory."""
        height = self._sums.shape[1]
        for start in range(0, height - rows, rows):
            stop = min(start + rows, height - rows)
            self._sums[:, start:stop] = self._sums[:, start + rows : stop + rows]
        self._sums[:, height - rows :] = 0


def _count_windows(starts: list[int], size: int, length: int, like: torch.Tensor) -> torch.Tensor:
    """(length,) of the device and dtype of `like`: the number of windows that cover each row or column."""
    counts = torch.zeros(length)
    for start in starts:
        counts[start : start + size] += 1
    return send(counts.to(like.dtype), like.device)
