"""How weights fit a model: which tensors match, and the names and shapes of those that do not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

NAMES_SHOWN = 20


@dataclass(frozen=True)
class ShapeConflict:
    """A tensor of one name and two shapes."""

    name: str
    in_weights: tuple[int, ...]
    in_model: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.in_weights} in the weights, {self.in_model} in the model"


@dataclass(frozen=True)
class WeightMatch:
    """The comparison of weights with a model.

    Attributes:
        matched: the model's tensors that the weights provide in the same shape.
        missing: the model's tensors that they do not provide.
        conflicts: those that they provide in another shape.
        unexpected: names that the model does not have.
        ignored: likewise, but known to be of no use to it.
    """

    matched: list[str]
    missing: list[str]
    conflicts: list[ShapeConflict]
    unexpected: list[str]
    ignored: list[str]

    @property
    def share(self) -> float:
        """Matched tensors among all of the model."""
        return len(self.matched) / max(self._num_expected, 1)

    @property
    def is_exact(self) -> bool:
        """Whether each tensor of one side has its counterpart on the other."""
        return not (self.missing or self.conflicts or self.unexpected)

    def describe(self) -> str:
        """Counts, share and names, in lines."""
        lines = [f"{len(self.matched)} of {self._num_expected} tensors of the model matched ({self.share:.1%})"]
        lines.append(f"missing in the weights: {_listed(self.missing)}")
        lines.append(f"of another shape: {_listed(self.conflicts)}")
        lines.append(f"unexpected in the weights: {_listed(self.unexpected)}")
        if self.ignored:
            lines.append(f"ignored by design: {_listed(self.ignored)}")
        return "\n  ".join(lines)

    @property
    def _num_expected(self) -> int:
        return len(self.matched) + len(self.missing) + len(self.conflicts)


def compare_weights(
    expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], *, ignored: re.Pattern | None = None
) -> WeightMatch:
    """Compare weights with a model's state dict, by name and shape; `ignored` finds the names to set apart."""
    shared = [name for name in expected if name in weights]
    others = [name for name in weights if name not in expected]
    useless = [name for name in others if ignored is not None and ignored.search(name)]
    return WeightMatch(
        matched=[name for name in shared if weights[name].shape == expected[name].shape],
        missing=[name for name in expected if name not in weights],
        conflicts=[
            ShapeConflict(name, tuple(weights[name].shape), tuple(expected[name].shape))
            for name in shared
            if weights[name].shape != expected[name].shape
        ],
        unexpected=[name for name in others if name not in useless],
        ignored=useless,
    )


def _listed(items: Sequence[object]) -> str:
    if not items:
        return "none"
    more = f" and {len(items) - NAMES_SHOWN} more" if len(items) > NAMES_SHOWN else ""
    return f"{len(items)} ({', '.join(map(str, items[:NAMES_SHOWN]))}{more})"
