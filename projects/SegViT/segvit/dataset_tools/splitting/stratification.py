"""`stratify`: divide units of images so that every part has every class, and its share of the images.

Greedy iterative stratification (Sechidis et al., On the Stratification of Multi-Label Data, ECML 2011), here for units
of several images, with the demand that rare classes are in each part.

Shape shorthand: U units (an image, or images that stay together), C classes, P parts.
"""

from __future__ import annotations

import numpy as np


def stratify(has_class: np.ndarray, sizes: np.ndarray, shares: np.ndarray, *, seed: int) -> np.ndarray:
    """The part (U,) of each unit.

    Args:
        has_class: (U, C) bool.
        sizes: (U,) images of each unit.
        shares: (P,) fractions of the images; their sum is 1. A part with share 0 stays empty.
        seed: of the order in which equal units are placed.
    """
    order = np.lexsort((np.random.default_rng(seed).permutation(len(sizes)), -sizes))  # large units first
    targets = _target_units(has_class.sum(axis=0), shares)  # (P, C)
    room = np.where(shares > 0, shares * sizes.sum(), -np.inf)  # (P,)
    parts = np.full(len(sizes), -1)
    while (parts < 0).any():
        open_units = order[parts[order] < 0]
        left = has_class[open_units].sum(axis=0)
        rarest = int(np.argmin(np.where(left > 0, left, len(sizes) + 1)))
        with_rarest = open_units[has_class[open_units, rarest]]
        for unit in with_rarest if len(with_rarest) else open_units:
            demand = targets[:, rarest] if len(with_rarest) else np.zeros(len(shares))
            demand = np.where(shares > 0, demand, -np.inf)
            best = np.flatnonzero(demand == demand.max())
            parts[unit] = best[np.argmax(room[best])]
            targets[parts[unit]] -= has_class[unit]
            room[parts[unit]] -= sizes[unit]
    _repair(parts, has_class, sizes, np.flatnonzero(shares > 0))
    return parts


def _target_units(num_units: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(P, C) float: units of each class that each part should get; at least one, if there are as many as parts."""
    targets = shares[:, None] * num_units
    used = shares > 0
    enough = num_units >= used.sum()
    raised = np.where(used[:, None] & enough, np.maximum(targets, 1), targets)
    largest = int(np.argmax(shares))
    raised[largest] -= raised.sum(axis=0) - num_units
    return raised


def _repair(parts: np.ndarray, has_class: np.ndarray, sizes: np.ndarray, used: np.ndarray) -> None:
    """Move units, in place, so that a class that a part lacks gets there, if no other part loses a class by it."""
    for class_index in np.argsort(has_class.sum(axis=0), kind="stable"):
        for part in used:
            if has_class[parts == part, class_index].any():
                continue
            movable = [
                unit for unit in np.flatnonzero(has_class[:, class_index]).tolist() if _is_free(unit, parts, has_class)
            ]
            if movable:
                parts[min(movable, key=lambda unit: (sizes[unit], unit))] = part


def _is_free(unit: int, parts: np.ndarray, has_class: np.ndarray) -> bool:
    """Whether every class of the unit is in another unit of its part, and it is not the part's only one."""
    others = parts == parts[unit]
    others[unit] = False
    return bool(others.any() and has_class[others][:, has_class[unit]].any(axis=0).all())
