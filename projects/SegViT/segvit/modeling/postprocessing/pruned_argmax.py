"""Labels without the scores of every class: a class is scored only where it can still win.

In the "diagonal" output the score of class c is p_c * sigmoid(mask of c), so nowhere above p_c, and within a cell of
the mask's grid between its lowest and its highest corner, for bilinear interpolation and the sigmoid stay between them.
Most cells belong to one class for certain; in the others the most probable classes are scored first, and those that
follow only where they reach the lowest winning score. The K x H x W scores never exist.

Shape shorthand: K classes, h x w grid, H x W pixels of the image, R x C tiles: regions between the grid's points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from segvit.modeling.postprocessing.bilinear_resize import BilinearResize, Range, source_positions
from segvit.modeling.postprocessing.semantic_inference import class_scores

PIXELS = 2**20  # of the labels are decided together, or as many as the model reads where those are more
CLASSES = 64  # have their bounds computed together
STRIPS = 8  # rows of tiles are scored in about so many groups
ROUNDING = 1e-5  # of a bound, by logit: several times what interpolation and sigmoid can be off
SMALLEST = 1e-30  # below it scores have no full precision


def pruned_labels(
    masks: torch.Tensor,
    probabilities: torch.Tensor,
    *,
    covered: tuple[int, int],
    size: tuple[int, int],
    wanted: tuple[int, int],
    dtype: torch.dtype = torch.int64,
) -> torch.Tensor:
    """The class with the highest of `class_scores` at every pixel, the first of equals, to the last bit.

    Args:
        masks: (K, h, w) logits, K below 65,536.
        probabilities: (K,).
        covered: pixels that the grid covers: those of the image, padded to whole patches.
        size: (H, W) of the image, at the top left of those.
        wanted: height and width of the labels; the scores are resized to it before they are compared.
        dtype: of the labels; it must hold K - 1.

    Returns:
        (height, width) `dtype`. Beside it a part of its rows is held, with eight bytes per pixel.
    """
    masks, probabilities = masks.float(), probabilities.float()
    resize = BilinearResize(size, wanted, masks.device)
    pixels = max(PIXELS, covered[0] * covered[1])
    tiles = _Tiles(masks, probabilities, covered=covered, resize=resize, tallest=max(pixels // wanted[1], 1))
    settled, contenders = tiles.settled_winners(), tiles.contenders(probabilities)
    labels = torch.empty(wanted, dtype=dtype, device=masks.device)
    for part in tiles.parts(pixels):
        winners = _Winners(settled[slice(*part)], tiles, part, num_classes=len(masks))
        for index in contenders:
            strips = list(winners.open_strips(index))
            if not strips:
                continue
            scores = class_scores(masks[None, index : index + 1], probabilities[None, index : index + 1], covered)
            scores = scores[0, 0, : size[0], : size[1]]
            for strip, rows, columns in strips:
                winners.enter(index, resize.block(scores, rows, columns), strip, rows, columns)
        labels[tiles.edges[0][part[0]] : tiles.edges[0][part[1]]] = winners.labels()
    return labels


class _Tiles:
    """What each class can score in each tile.

    Args:
        covered: pixels that the grid of the masks (K, h, w) covers.
        resize: from the image, at the top left of those, to the labels.
        tallest: rows of labels that a tile may have.
    """

    def __init__(
        self,
        masks: torch.Tensor,
        probabilities: torch.Tensor,
        *,
        covered: tuple[int, int],
        resize: BilinearResize,
        tallest: int,
    ) -> None:
        grid = (masks.shape[1], masks.shape[2])
        self.device = masks.device
        largest = (tallest, resize.wanted[1])
        self.edges = [_tile_edges(*lengths) for lengths in zip(grid, covered, resize.size, resize.wanted, largest)]
        supports = [_supports(self.edges[axis], grid[axis], covered[axis], resize.sources[axis]) for axis in (0, 1)]
        slack = 1 + ROUNDING * (1 + torch.stack(masks.aminmax()).abs().max())
        self.bounds = torch.empty(len(masks), *(len(edges) - 1 for edges in self.edges))  # (K, R, C), above every score
        certain = torch.full(self.bounds.shape[1:], -torch.inf)  # (R, C): some class scores as much everywhere
        for start in range(0, len(masks), CLASSES):
            some = slice(start, start + CLASSES)
            corners = (masks[some].sigmoid() * probabilities[some, None, None]).permute(1, 2, 0).contiguous()
            highest, lowest = (_window_maxima(bound, supports) for bound in (corners, -corners))
            self.bounds[some] = (highest * slack + SMALLEST).permute(2, 0, 1).cpu()
            certain = certain.maximum(-lowest.amin(dim=2).cpu())
        self.open = ~(self.bounds < certain)  # (K, R, C), also where something is not a number
        self.settled = self.open.sum(dim=0) == 1  # (R, C)

    def settled_winners(self) -> torch.Tensor:
        """(R, C): the class that wins a tile for certain; -1 where it takes scores to tell. Ask before `contenders`."""
        return self.open.int().argmax(dim=0).where(self.settled, -1)

    def parts(self, pixels: int) -> Iterator[Range]:
        """Rows of tiles, one at least, that together hold at most so many pixels of the labels."""
        edges, width, start = self.edges[0], self.edges[1][-1], 0
        for stop in range(1, len(edges)):
            if stop == len(edges) - 1 or (edges[stop + 1] - edges[start]) * width > pixels:
                yield start, stop
                start = stop

    def contenders(self, probabilities: torch.Tensor) -> list[int]:
        """Classes that may win somewhere that is not settled, the most probable first."""
        self.open &= ~self.settled
        order = probabilities.cpu().argsort(descending=True)
        return order[self.open.flatten(1).any(dim=1)[order]].tolist()


class _Winners:
    """The highest score so far and its class at every pixel, as one number that orders by both.

    The bits of a float32 that is not negative, read as an integer, are in the order of the floats. Behind them stands
    the class, the first as the highest: so the maximum of two numbers decides between equal scores, too, whatever the
    order in which they come.

    Args:
        settled: classes of the part's tiles that need no scores, else -1.
        tiles: what classes can score in each tile.
        part: the rows of tiles that are decided here.
    """

    def __init__(self, settled: torch.Tensor, tiles: _Tiles, part: Range, *, num_classes: int) -> None:
        self._last = num_classes - 1
        self._tiles = tiles
        edges = (tiles.edges[0][part[0] : part[1] + 1], tiles.edges[1])
        self._first = edges[0][0]  # the row of the labels that the first row here is
        highest, none = torch.iinfo(torch.int32).max << 16, torch.iinfo(torch.int64).min
        keys = (highest + self._last - settled).where(settled >= 0, none)
        for axis in (1, 0):  # rows last: they are copied whole
            keys = keys.repeat_interleave(torch.tensor(edges[axis]).diff(), dim=axis)
        self._keys = keys.to(tiles.device)
        step = -(-len(settled) // STRIPS)
        self._strips = [(start, min(start + step, part[1])) for start in range(*part, step)]
        self._lowest = [0.0] * len(self._strips)  # winning score of each strip, where every pixel has one
        reach = tiles.bounds.masked_fill(~tiles.open, -torch.inf)
        reach = torch.stack([reach[:, start:stop].flatten(1).amax(dim=1) for start, stop in self._strips], dim=1)
        self._reach = reach.tolist()  # [class][strip]: above every score of the class there

    def open_strips(self, index: int) -> list[tuple[int, Range, Range]]:
        """The strips in which a class may still win, each with the rows and columns of pixels that this concerns."""
        edges, found = self._tiles.edges, []
        for strip, (start, stop) in enumerate(self._strips):
            if self._reach[index][strip] < self._lowest[strip]:
                continue
            reaches = ~(self._tiles.bounds[index, start:stop] < self._lowest[strip])
            columns = (self._tiles.open[index, start:stop] & reaches).any(dim=0).nonzero()
            across = (edges[1][int(columns[0])], edges[1][int(columns[-1]) + 1])
            found.append((strip, (edges[0][start], edges[0][stop]), across))
        return found

    def enter(self, index: int, scores: torch.Tensor, strip: int, rows: Range, columns: Range) -> None:
        """Let a class contend with its scores (rows, columns), none of them negative, in a part of a strip."""
        strip_keys = self._keys[rows[0] - self._first : rows[1] - self._first]
        held = strip_keys[:, columns[0] : columns[1]]
        keys = scores.view(torch.int32).long().bitwise_left_shift_(16).bitwise_or_(self._last - index)
        torch.maximum(held, keys, out=held)
        lowest = strip_keys.min() >> 16
        self._lowest[strip] = float(lowest.clamp(min=0).int().view(torch.float32))

    def labels(self) -> torch.Tensor:
        """(rows, width) int64, in the place of the keys: call it once, at the end."""
        return self._keys.bitwise_and_(0xFFFF).neg_().add_(self._last)


def _tile_edges(grid: int, covered: int, length: int, wanted: int, largest: int) -> list[int]:
    """First rows (or columns) of tiles in the labels, and the end: they change where two points of the grid do.

    Those larger than `largest` are cut.
    """
    scale = covered / grid * wanted / length
    inner = (math.ceil((index + 0.5) * scale - 0.5) for index in range(grid))
    inner = {*inner, *range(largest, wanted, largest)}
    return [0, *sorted(edge for edge in inner if 0 < edge < wanted), wanted]


def _supports(
    edges: list[int], grid: int, covered: int, source: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(tiles,) each: the first and the last point of the grid that any pixel of a tile depends on."""
    first, last, _ = source
    above, below, _ = source_positions(grid, covered)
    return above[first[edges[:-1]]], below[last[torch.tensor(edges[1:]) - 1]]


def _window_maxima(values: torch.Tensor, supports: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The highest of (h, w, K) values from each first to each last row, and in these from column to column."""
    for axis, (first, last) in enumerate(supports):
        highest = values.index_select(axis, first.to(values.device))
        for offset in range(1, int((last - first).max()) + 1):
            highest = highest.maximum(values.index_select(axis, (first + offset).minimum(last).to(values.device)))
        values = highest
    return values
