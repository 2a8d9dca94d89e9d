"""`GridTensors`: tensors that belong to the cells of one grid of patches, and their resizing to another grid.

Shape shorthand: h x w grid of patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

Grid = tuple[int, int]

# Grids of unknown weights are looked for up to this side: 4096 pixels in patches of 8.
LARGEST_SIDE = 512


def is_exporting() -> bool:
    """Whether an exporter is tracing: its graph serves all grids, so that no branch may depend on the size.

    torch.compile may branch.
    """
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


def is_making_graph() -> bool:
    """Whether what runs becomes a graph, for a compiler or an exporter: it must not depend on values."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


class GridTensors(nn.Module):
    """Base of modules whose learned tensors are made for one grid.

    Attributes:
        grid_size: (h, w) of the grid.
    """

    grid_size: Grid
    # The dimension of the tensors that depends on the grid.
    grid_dimension = 0

    def grid_tensors(self) -> list[str]:
        """The names of the tensors in this module."""
        raise NotImplementedError

    def length_on(self, grid: Grid) -> int:
        """The length of the tensors on a grid, in `grid_dimension`."""
        raise NotImplementedError

    def resized(self, tensor: torch.Tensor, old: Grid, new: Grid) -> torch.Tensor:
        """A tensor of one grid, resized bicubically to another."""
        raise NotImplementedError


@dataclass(frozen=True)
class ResizedWeights:
    """Weights of a model of another grid, resized.

    Attributes:
        weights: all weights.
        names: of those that were resized; empty if the grid is the same, or the old one is unknown.
        old, new: grids.
    """

    weights: dict[str, torch.Tensor]
    names: list[str]
    old: Grid
    new: Grid


def resize_to_grid_of(model: nn.Module, weights: Mapping[str, torch.Tensor], old: Grid | None) -> ResizedWeights:
    """Resize the weights that depend on the grid to that of a model.

    Args:
        model: whose modules of the type `GridTensors` have one grid.
        weights: of a model that differs at most in the grid.
        old: the grid of the weights; None for the square grid that fits a weight, if its length differs in the model.
    """
    parts = [
        (f"{prefix}.{name}" if prefix else name, module)
        for prefix, module in model.named_modules()
        if isinstance(module, GridTensors)
        for name in module.grid_tensors()
    ]
    parts = [(name, module) for name, module in parts if name in weights]
    new = parts[0][1].grid_size if parts else (0, 0)
    old = old or next((grid for name, module in parts if (grid := _square_grid(module, weights[name]))), new)
    fitting = [
        (name, module)
        for name, module in parts
        if old != new and weights[name].shape[module.grid_dimension] == module.length_on(old)
    ]
    resized = {name: module.resized(weights[name], old, new) for name, module in fitting}
    return ResizedWeights({**weights, **resized}, list(resized), old, new)


def _square_grid(module: GridTensors, tensor: torch.Tensor) -> Grid | None:
    """The square grid that a tensor is made for; None if it has the length of the module's own, or fits no square."""
    length = tensor.shape[module.grid_dimension]
    if length == module.length_on(module.grid_size):
        return None
    return next(((side, side) for side in range(1, LARGEST_SIDE) if module.length_on((side, side)) == length), None)
