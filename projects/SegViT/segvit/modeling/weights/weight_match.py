"""`compare_weights`: which tensors of a checkpoint match a model by name and shape, and which do not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from segvit.errors import listed

# Longer lists of names are cut in messages.
MAX_NAMES_LISTED = 20


@dataclass(frozen=True)
class ShapeConflict:
    """A tensor whose shape in the weights differs from its shape in the model."""

    name: str
    in_weights: tuple[int, ...]
    in_model: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.in_weights} in the weights, {self.in_model} in the model"


@dataclass(frozen=True)
class WeightMatch:
    """The result of comparing weights with a model.

    Attributes:
        matched: the model's tensors that the weights provide with the same shape.
        missing: the model's tensors that the weights lack.
        conflicts: the model's tensors that the weights provide with another shape.
        unexpected: names in the weights that the model lacks.
        ignored: such names that are known to be useless to the model.
    """

    matched: list[str]
    missing: list[str]
    conflicts: list[ShapeConflict]
    unexpected: list[str]
    ignored: list[str]

    @property
    def matched_fraction(self) -> float:
        """Number of matched tensors / number of the model's tensors."""
        return len(self.matched) / max(self._num_expected, 1)

    @property
    def is_exact(self) -> bool:
        """Whether every tensor of the model is matched and no name is unexpected."""
        return not (self.missing or self.conflicts or self.unexpected)

    def describe(self) -> str:
        """Counts, fraction and names, in several lines."""
        fraction = f"({self.matched_fraction:.1%})"
        lines = [f"{len(self.matched)} of {self._num_expected} tensors of the model matched {fraction}"]
        lines.append(f"missing in the weights: {_list(self.missing)}")
        lines.append(f"of another shape: {_list(self.conflicts)}")
        lines.append(f"unexpected in the weights: {_list(self.unexpected)}")
        if self.ignored:
            lines.append(f"ignored by design: {_list(self.ignored)}")
        return "\n  ".join(lines)

    @property
    def _num_expected(self) -> int:
        return len(self.matched) + len(self.missing) + len(self.conflicts)


def compare_weights(
    expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], *, ignored: re.Pattern | None = None
) -> WeightMatch:
    """Compare weights with a model's state dict `expected`; `ignored` is searched in the unexpected names."""
    common = [name for name in expected if name in weights]
    extra = [name for name in weights if name not in expected]
    useless = [name for name in extra if ignored is not None and ignored.search(name)]
    return WeightMatch(
        matched=[name for name in common if weights[name].shape == expected[name].shape],
        missing=[name for name in expected if name not in weights],
        conflicts=[
            ShapeConflict(name, tuple(weights[name].shape), tuple(expected[name].shape))
            for name in common
            if weights[name].shape != expected[name].shape
        ],
        unexpected=[name for name in extra if name not in useless],
        ignored=useless,
    )


def _list(items: Sequence[object]) -> str:
    return f"{len(items)} ({listed(items, MAX_NAMES_LISTED)})" if items else "none"
