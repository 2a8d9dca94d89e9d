"""`Key`, a config key with its default and the check of its values; the checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

# Takes a value, and returns "" or what is wrong with it, such as "must be at least 1".
Check = Callable[[Any], str]


def no_check(value: Any) -> str:
    return ""


@dataclass(frozen=True)
class Key:
    """A config key.

    Args:
        name: the dotted name, such as "SOLVER.MAX_ITER".
        default: the default. Values must have its type; for a non-empty list, also the type of its elements.
        check: of values that have this type.
    """

    name: str
    default: Any
    check: Check = no_check


def at_least(low: float) -> Check:
    return lambda value: "" if value >= low else f"must be at least {low}"


def between(low: float, high: float) -> Check:
    return lambda value: "" if low <= value <= high else f"must be from {low} to {high}"


def positive(value: float) -> str:
    return "" if value > 0 else "must be above 0"


def fraction(value: float) -> str:
    return "" if 0 < value <= 1 else "must be above 0 and at most 1"


def positive_numbers(count: int | None = None) -> Check:
    """A list of `count` positive numbers; by default one or more."""

    def check(values: list[float]) -> str:
        fits = len(values) == (count or max(len(values), 1)) and all(value > 0 for value in values)
        return "" if fits else f"must be {count or 'one or more'} numbers above 0"

    return check


def block_indices(values: list[Any]) -> str:
    """A list of whole numbers, each once; it may be empty."""
    fits = all(type(value) is int for value in values) and len({*values}) == len(values)
    return "" if fits else "must be whole numbers, each once"


def whole_numbers(values: list[Any]) -> str:
    """A list of whole numbers from 0; it may be empty."""
    return "" if all(type(value) is int and value >= 0 for value in values) else "must be whole numbers, at least 0"


def names(values: list[Any]) -> str:
    """A list of texts; it may be empty."""
    return "" if all(isinstance(value, str) for value in values) else "must be names"


def names_or_ids(values: list[Any]) -> str:
    """A list of classes, by name or id; it may be empty."""
    return "" if all(type(value) in (str, int) for value in values) else "must be names or ids of classes"


def groups_of_classes(values: list[Any]) -> str:
    """A list of lists of classes, by name or id; it may be empty."""
    fits = all(isinstance(group, list | tuple) and group and not names_or_ids(list(group)) for group in values)
    return "" if fits else "must be lists of names or ids of classes, such as [[0, 1], [2]]"


def finite(value: Any) -> str:
    """Any value, of whose numbers none may be infinite or NaN."""
    numbers_of = value if isinstance(value, list | tuple) else [value]
    unfit = any(isinstance(number, float) and not math.isfinite(number) for number in numbers_of)
    return "must be finite" if unfit else ""


def numbers(count: int) -> Check:
    return lambda values: "" if len(values) == count else f"must be {count} numbers"


def ascending(low: float, high: float) -> Check:
    """Two numbers from `low` to `high`, the smaller one first."""
    return lambda values: (
        ""
        if len(values) == 2 and low <= values[0] < values[1] <= high
        else f"must be {low} <= first < second <= {high}"
    )


def one_of(*choices: str) -> Check:
    *others, last = map(repr, choices)
    return lambda value: "" if value in choices else f"must be {', '.join(others)} or {last}"


def component(registry: str, *own: str) -> Check:
    """One of SegViT's `own` components, or one that another project has put into this registry of Detectron2."""

    def check(name: str) -> str:
        # Detectron2 is imported for other names only: it takes longer than the rest of `import segvit`.
        if name in own or name in (known := [*own, *_registered(registry)]):
            return ""
        (nearest,) = get_close_matches(name, known, n=1, cutoff=0.0)
        return f"does not exist (the nearest is {nearest})"

    return check


def _registered(registry: str) -> list[str]:
    """The names in a registry of `detectron2.modeling`; none where Detectron2 is not installed."""
    try:
        from detectron2 import modeling
    except ImportError:
        return []
    return [name for name, _ in getattr(modeling, registry)]
