"""Class scores as bands of rows: resize, average and argmax them without ever holding a whole (K, H, W) tensor.

150 classes at 4000 x 6000 pixels are 14 GB of scores. An iterator of bands (K, rows, W), from the top of the image to
its bottom, stands for such a map here.

Shape shorthand: K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from segvit.modeling.postprocessing.image_sizes import Size

# Half-open range of rows or columns: (start, stop).
Range = tuple[int, int]

# Scores in a band: 8 MiB of float32 stay in a CPU's cache and take half the time of 64 MiB.
ELEMENTS_PER_BAND = 2**21

# The same for a GPU, which gains nothing from small bands and loses time with every launch: 256 MiB of float32, enough
# for 150 classes at 512 x 832 pixels.
ELEMENTS_PER_GPU_BAND = 2**26


def prefers_few_launches(device: torch.device) -> bool:
    """Whether a device computes few large maps faster than many that fit a cache: any device but a CPU.

    Every choice between two ways to compute scores or labels asks this function.
    """
    return device.type != "cpu"


def elements_at_once(device: torch.device) -> int:
    """The scores that are held together, about, where a map of scores is computed piece by piece."""
    return ELEMENTS_PER_GPU_BAND if prefers_few_launches(device) else ELEMENTS_PER_BAND


def argmax_classes(scores: torch.Tensor) -> torch.Tensor:
    """Argmax over classes, the first of equals: (K, H, W) to (H, W) int64.

    On the CPU a running maximum takes a third of the time of `argmax` over the first dimension.
    """
    if prefers_few_launches(scores.device):
        return scores.argmax(dim=0)
    best = scores[0].clone()
    labels = torch.zeros_like(best, dtype=torch.int64)
    for index in range(1, len(scores)):
        labels.masked_fill_(scores[index] > best, index)
        torch.maximum(best, scores[index], out=best)
    return labels


def labels_of(output: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(H, W) labels of one image's result: its "sem_seg_labels", or the argmax of its "sem_seg" (K, H, W)."""
    return output["sem_seg_labels"] if "sem_seg_labels" in output else argmax_classes(output["sem_seg"])


def band_ranges(num_classes: int, size: Size, device: torch.device) -> Iterator[Range]:
    """Row ranges of bands of about `elements_at_once` scores that cover a map of (H, W) pixels."""
    rows = max(1, elements_at_once(device) // (num_classes * size[1]))
    for start in range(0, size[0], rows):
        yield start, min(start + rows, size[0])


class RowReader:
    """Reads any rows of a banded map, in order; rows above the last ones read are dropped."""

    def __init__(self, bands: Iterable[torch.Tensor]) -> None:
        self._bands = iter(bands)
        self._buffer = next(self._bands)
        self._first_row = 0  # the buffer's first row, counted from the top of the map

    @property
    def num_classes(self) -> int:
        return len(self._buffer)

    @property
    def device(self) -> torch.device:
        return self._buffer.device

    def read(self, start: int, stop: int) -> torch.Tensor:
        """(K, stop - start, W): rows `start` to `stop`; `start` must not decrease from call to call."""
        bands = [self._buffer]
        end = self._first_row + self._buffer.shape[1]
        while end < stop:
            bands.append(next(self._bands))
            end += bands[-1].shape[1]
        buffer = torch.cat(bands, dim=1) if len(bands) > 1 else self._buffer
        self._buffer = buffer[:, start - self._first_row :]
        self._first_row = start
        return self._buffer[:, : stop - start]


class BilinearResize:
    """Bilinear resizing of any block of a map, as `F.interpolate(..., align_corners=False)` resizes the whole.

    Args:
        input_size: (H, W) of the map.
        output_size: height and width of the resized map; where it is `input_size`, blocks are copied.
        device: of the maps.
    """

    def __init__(self, input_size: Size, output_size: Size, device: torch.device) -> None:
        self.input_size = (input_size[0], input_size[1])
        self.output_size = (output_size[0], output_size[1])
        lengths = list(zip(self.input_size, self.output_size))
        self.sources = [source_positions(*axis_lengths) for axis_lengths in lengths]
        self._sources_on_device = self.sources
        if device.type != "cpu":  # computed there again, because a copy would wait
            self._sources_on_device = [source_positions(*axis_lengths, device=device) for axis_lengths in lengths]

    def source_rows(self, rows: Range) -> Range:
        """The rows of the map that some rows of the resized map are interpolated from."""
        if self.input_size == self.output_size:
            return rows
        upper, lower, _ = self.sources[0]
        return int(upper[rows[0]]), int(lower[rows[1] - 1]) + 1

    def block(self, maps: torch.Tensor, rows: Range, columns: Range, *, first_row: int = 0) -> torch.Tensor:
        """A block of the resized map.

        Args:
            maps: (..., n, W), the map from `first_row` on, with at least the `source_rows` of the block.
            rows, columns: of the resized map.

        Returns:
            (..., rows, columns).
        """
        if self.input_size == self.output_size:
            return maps[..., rows[0] - first_row : rows[1] - first_row, columns[0] : columns[1]]
        upper, lower, row_weight = (source[rows[0] : rows[1]] for source in self._sources_on_device[0])
        left, right, column_weight = (source[columns[0] : columns[1]] for source in self._sources_on_device[1])
        # Only the columns that are read.
        first_column = int(self.sources[1][0][columns[0]])
        last_column = int(self.sources[1][1][columns[1] - 1])
        maps = maps[..., first_column : last_column + 1]
        # Rows first, then columns.
        maps = _interpolate(maps, -2, upper - first_row, lower - first_row, row_weight[:, None])
        return _interpolate(maps, -1, left - first_column, right - first_column, column_weight)


def _interpolate(
    maps: torch.Tensor, axis: int, first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    start = maps.index_select(axis, first)
    return maps.index_select(axis, second).sub_(start).mul_(weight.to(maps.dtype)).add_(start)


def source_positions(
    input_length: int, output_length: int, *, device: torch.device | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each output row: the two input rows it lies between and the weight of the second, in PyTorch's float32."""
    scale = torch.tensor(input_length, dtype=torch.float32) / output_length
    centers = torch.arange(output_length, dtype=torch.float32, device=device) + 0.5
    position = (centers * scale - 0.5).clamp(min=0)
    first = position.long().clamp(max=input_length - 1)
    return first, (first + 1).clamp(max=input_length - 1), position - first


def resize_bands(bands: Iterable[torch.Tensor], input_size: Size, output_size: Size) -> Iterator[torch.Tensor]:
    """Bands of the bilinearly resized map.

    Args:
        bands: (K, rows, W) each.
        input_size: (H, W) of the map that the bands make up.
        output_size: height and width of the resized map; where it is `input_size`, the bands are passed on.
    """
    if tuple(input_size) == tuple(output_size):
        yield from bands
        return
    reader = RowReader(bands)
    resize = BilinearResize(input_size, output_size, reader.device)
    for start, stop in band_ranges(reader.num_classes, output_size, reader.device):
        first, last = resize.source_rows((start, stop))
        rows = reader.read(first, last)
        # Class by class on a CPU, so that a map stays in its cache; a GPU is faster with all of them at once.
        groups = [rows] if prefers_few_launches(rows.device) else rows.split(1)
        blocks = [resize.block(group, (start, stop), (0, output_size[1]), first_row=first) for group in groups]
        yield torch.cat(blocks) if len(blocks) > 1 else blocks[0]


def mean_bands(maps: Sequence[Iterable[torch.Tensor]], size: Size) -> Iterator[torch.Tensor]:
    """Bands of the mean of several banded maps of (H, W) pixels, which are read side by side."""
    readers = [RowReader(bands) for bands in maps]
    for start, stop in band_ranges(readers[0].num_classes, size, readers[0].device):
        mean = readers[0].read(start, stop).clone()
        for reader in readers[1:]:
            mean += reader.read(start, stop)
        yield mean.div_(len(readers))


def join_bands(bands: Iterable[torch.Tensor], size: Size) -> torch.Tensor:
    """The whole map (K, H, W) of `size`; a single band is returned without a copy."""
    scores = torch.empty(0)
    row = 0
    for band in bands:
        if tuple(band.shape[1:]) == tuple(size):
            return band
        if row == 0:
            scores = band.new_empty(len(band), *size)
        scores[:, row : row + band.shape[1]] = band
        row += band.shape[1]
    return scores


def labels_of_bands(bands: Iterable[torch.Tensor], size: Size, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Argmax over classes: (H, W) of `size` and `dtype`. Only one band exists at a time."""
    labels = torch.empty(0, dtype=dtype)
    row = 0
    for band in bands:
        band_labels = argmax_classes(band).to(dtype)
        if tuple(band_labels.shape) == tuple(size):
            return band_labels
        if row == 0:
            labels = band_labels.new_empty(*size)
        labels[row : row + len(band_labels)] = band_labels
        row += len(band_labels)
        del band  # free it before the next one is computed
    return labels
