"""`pruned_argmax`: labels of the "diagonal" output; a class is scored only where it can still win.

The score of class c is p_c * sigmoid(mask of c). Bilinear interpolation and the sigmoid stay between the values at the
corners of a cell of the mask's grid, so each class has a lower and an upper bound there:

1. Cut the labels into tiles, regions between the grid's points, and bound every class in every tile.
2. A class whose upper bound is below another's lower bound loses that tile; a tile with one class left is decided.
3. Go through the remaining classes by probability, the highest first, and keep a running argmax.
4. Score a class only in the strips (rows of tiles) where its upper bound reaches the lowest score that wins so far.
5. Do so for a part of the labels at a time, so that the K x H x W scores never exist.

Shape shorthand: K classes, h x w grid, H x W pixels of the image, R x C tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from segvit.modeling.postprocessing.image_sizes import ImageSizes
from segvit.modeling.postprocessing.score_bands import BilinearResize, Range, source_positions
from segvit.modeling.postprocessing.semantic_inference import class_scores

# Pixels of the labels that are decided together; at least as many as the model's input has.
PIXELS_AT_ONCE = 2**20

# Classes whose bounds are computed together.
CLASSES_AT_ONCE = 64

# Pixels of the image that a tile has at least in each direction: on a fine grid (masks with detail), bounding every
# region between its points would take longer than it saves.
SMALLEST_TILE = 16

# Strips per part of the labels, about: finer ones prune more but take more calls.
STRIPS = 8

# Relative slack of an upper bound per unit of logit, several times the rounding of interpolation and sigmoid.
BOUND_SLACK = 1e-5

# Absolute slack: scores below it have no full float32 precision.
SMALLEST_SCORE = 1e-30


def pruned_argmax(
    masks: torch.Tensor, probabilities: torch.Tensor, sizes: ImageSizes, *, dtype: torch.dtype = torch.int64
) -> torch.Tensor:
    """The class with the highest of `class_scores` at every pixel.

    Where the two best scores differ by less than 1e-6, rounding may choose either.

    Args:
        masks: (K, h, w) logits on a grid that covers `sizes.padded`, K below 65,536.
        probabilities: (K,).
        sizes: of the image; its scores are resized to `sizes.output` before they are compared.
        dtype: of the labels; it must hold K - 1.

    Returns:
        (height, width) of `sizes.output`, of `dtype`. Beside it, eight bytes per pixel of one part are held.
    """
    masks = masks.float()
    probabilities = probabilities.float()
    height, width = sizes.image
    resize = BilinearResize(sizes.image, sizes.output, masks.device)
    pixels_at_once = max(PIXELS_AT_ONCE, sizes.padded[0] * sizes.padded[1])

    # Bound every class in every tile: which tiles are decided, and which classes may win the others?
    tiles = _Tiles(masks, probabilities, sizes, resize, max_rows=max(pixels_at_once // sizes.output[1], 1))
    decided_labels = tiles.decided_labels()
    candidate_classes = tiles.candidate_classes(probabilities)

    # Score these, the most probable first, where they can still win.
    labels = torch.empty(sizes.output, dtype=dtype, device=masks.device)
    for part in tiles.parts(pixels_at_once):
        running = _RunningArgmax(decided_labels[slice(*part)], tiles, part, num_classes=len(masks))
        for index in candidate_classes:
            strips = running.candidate_strips(index)
            if not strips:
                continue
            one_class = slice(index, index + 1)
            scores = class_scores(masks[None, one_class], probabilities[None, one_class], sizes.padded)
            scores = scores[0, 0, :height, :width]
            for strip, rows, columns in strips:
                running.update(index, resize.block(scores, rows, columns), strip, rows, columns)
        labels[tiles.row_edges[part[0]] : tiles.row_edges[part[1]]] = running.labels()
    return labels


class _Tiles:
    """Upper bounds of every class in every tile, and which classes may win it.

    Args:
        masks: (K, h, w) logits.
        probabilities: (K,).
        sizes: of the image.
        resize: from `sizes.image` to `sizes.output`.
        max_rows: height that a tile may have in the labels.
    """

    def __init__(
        self,
        masks: torch.Tensor,
        probabilities: torch.Tensor,
        sizes: ImageSizes,
        resize: BilinearResize,
        *,
        max_rows: int,
    ) -> None:
        grid = (masks.shape[1], masks.shape[2])
        self.device = masks.device
        lengths = zip(grid, *sizes, (max_rows, sizes.output[1]), strict=True)
        self.row_edges, self.column_edges = (_tile_edges(*axis_lengths) for axis_lengths in lengths)
        supports = [
            _tile_supports(self.row_edges, grid[0], sizes.padded[0], resize.sources[0]),
            _tile_supports(self.column_edges, grid[1], sizes.padded[1], resize.sources[1]),
        ]
        num_tiles = (len(self.row_edges) - 1, len(self.column_edges) - 1)
        self.upper_bounds = torch.empty(len(masks), *num_tiles)  # (K, R, C)
        best_lower_bound = torch.full(num_tiles, -torch.inf)  # (R, C)
        slack = 1 + BOUND_SLACK * (1 + torch.stack(masks.aminmax()).abs().max())
        for start in range(0, len(masks), CLASSES_AT_ONCE):
            some = slice(start, start + CLASSES_AT_ONCE)
            corners = (masks[some].sigmoid() * probabilities[some, None, None]).permute(1, 2, 0).contiguous()
            highest = _window_maxima(corners, supports)
            lowest = -_window_maxima(-corners, supports)
            self.upper_bounds[some] = (highest * slack + SMALLEST_SCORE).permute(2, 0, 1).cpu()
            best_lower_bound = best_lower_bound.maximum(lowest.amax(dim=2).cpu())
        # Written as "not below" so that a NaN leaves every class a candidate.
        self.is_candidate = ~(self.upper_bounds < best_lower_bound)  # (K, R, C)
        self.is_decided = self.is_candidate.sum(dim=0) == 1  # (R, C)

    def decided_labels(self) -> torch.Tensor:
        """(R, C): the only candidate of each decided tile, else -1. Call it before `candidate_classes`."""
        return self.is_candidate.int().argmax(dim=0).where(self.is_decided, -1)

    def candidate_classes(self, probabilities: torch.Tensor) -> list[int]:
        """Classes that may win an undecided tile, the most probable first; they stay candidates there alone."""
        self.is_candidate &= ~self.is_decided
        order = probabilities.cpu().argsort(descending=True)
        return order[self.is_candidate.flatten(1).any(dim=1)[order]].tolist()

    def parts(self, pixels: int) -> Iterator[Range]:
        """Ranges of rows of tiles, each of at most so many pixels of the labels, or of one row."""
        start = 0
        width = self.column_edges[-1]
        for stop in range(1, len(self.row_edges)):
            is_last = stop == len(self.row_edges) - 1
            if is_last or (self.row_edges[stop + 1] - self.row_edges[start]) * width > pixels:
                yield start, stop
                start = stop


class _RunningArgmax:
    """The best score so far and its class at every pixel of a part of the labels, as one sortable integer (the key).

    The bits of a non-negative float32, read as an integer, are in the order of the floats. The class fills the 16 bits
    below them, the first class as the highest number: the maximum of two keys also decides between equal scores,
    in whatever order the classes come.

    Args:
        decided_labels: (rows, C) of the part's tiles, -1 where undecided.
        tiles: of the whole labels.
        part: the range of rows of tiles that is decided here.
    """

    def __init__(self, decided_labels: torch.Tensor, tiles: _Tiles, part: Range, *, num_classes: int) -> None:
        self._tiles = tiles
        self._last_class = num_classes - 1
        row_edges = tiles.row_edges[part[0] : part[1] + 1]
        self._first_row = row_edges[0]  # of the labels
        # One key per tile, repeated for its pixels: columns first, because rows are copied whole.
        decided, none = torch.iinfo(torch.int32).max << 16, torch.iinfo(torch.int64).min
        keys = (decided + self._last_class - decided_labels).where(decided_labels >= 0, none)
        keys = keys.repeat_interleave(torch.tensor(tiles.column_edges).diff(), dim=1)
        self._keys = keys.repeat_interleave(torch.tensor(row_edges).diff(), dim=0).to(tiles.device)
        # The highest bound of each class per strip, and the lowest score that wins there: 0 until every pixel has one.
        step = -(-len(decided_labels) // STRIPS)
        self._strips = [(start, min(start + step, part[1])) for start in range(*part, step)]
        bounds = tiles.upper_bounds.masked_fill(~tiles.is_candidate, -torch.inf)
        bounds = torch.stack([bounds[:, start:stop].flatten(1).amax(dim=1) for start, stop in self._strips], dim=1)
        self._upper_bounds = bounds.tolist()  # [class][strip]
        self._strip_minimum = [0.0] * len(self._strips)

    def candidate_strips(self, index: int) -> list[tuple[int, Range, Range]]:
        """Strips in which a class may still win, with the rows and columns of the labels where it may."""
        tiles = self._tiles
        strips = []
        for strip, (start, stop) in enumerate(self._strips):
            minimum = self._strip_minimum[strip]
            if self._upper_bounds[index][strip] < minimum:
                continue
            may_win = tiles.is_candidate[index, start:stop] & ~(tiles.upper_bounds[index, start:stop] < minimum)
            columns = may_win.any(dim=0).nonzero()
            column_range = (tiles.column_edges[int(columns[0])], tiles.column_edges[int(columns[-1]) + 1])
            strips.append((strip, (tiles.row_edges[start], tiles.row_edges[stop]), column_range))
        return strips

    def update(self, index: int, scores: torch.Tensor, strip: int, rows: Range, columns: Range) -> None:
        """Compare the scores of a class (rows, columns), none of them negative, with the best so far."""
        strip_keys = self._keys[rows[0] - self._first_row : rows[1] - self._first_row]
        best_keys = strip_keys[:, columns[0] : columns[1]]
        keys = scores.view(torch.int32).long().bitwise_left_shift_(16).bitwise_or_(self._last_class - index)
        torch.maximum(best_keys, keys, out=best_keys)
        lowest = strip_keys.min() >> 16
        self._strip_minimum[strip] = float(lowest.clamp(min=0).int().view(torch.float32))

    def labels(self) -> torch.Tensor:
        """(rows, width) int64. It overwrites the keys: call it once, at the end."""
        return self._keys.bitwise_and_(0xFFFF).neg_().add_(self._last_class)


def _tile_edges(grid: int, padded: int, image: int, output: int, max_length: int) -> list[int]:
    """First rows (or columns) of the tiles in the labels, and the end.

    An edge lies where the two points of the grid that a pixel is interpolated from change, as often as `SMALLEST_TILE`
    allows; tiles longer than `max_length` are cut.
    """
    scale = padded / grid * output / image
    edges = [0]
    for index in range(grid):
        edge = math.ceil((index + 0.5) * scale - 0.5)
        if edge - edges[-1] >= SMALLEST_TILE * output / image:
            edges.append(edge)
    inner = {*edges, *range(max_length, output, max_length)}
    return [0, *sorted(edge for edge in inner if 0 < edge < output), output]


def _tile_supports(
    edges: list[int], grid: int, padded: int, source: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(tiles,) each: the first and the last point of the grid that any pixel of a tile is interpolated from."""
    first, last, _ = source
    above, below, _ = source_positions(grid, padded)
    return above[first[edges[:-1]]], below[last[torch.tensor(edges[1:]) - 1]]


def _window_maxima(values: torch.Tensor, supports: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The highest of (h, w, K) values between the first and last rows, then columns, of each tile: (R, C, K)."""
    for axis, (first, last) in enumerate(supports):
        highest = values.index_select(axis, first.to(values.device))
        for offset in range(1, int((last - first).max()) + 1):
            highest = highest.maximum(values.index_select(axis, (first + offset).minimum(last).to(values.device)))
        values = highest
    return values
