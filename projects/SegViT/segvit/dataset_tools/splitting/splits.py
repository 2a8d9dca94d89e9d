"""`make_splits`: training, validation and test images, or folds; near duplicates and groups stay together.

Shape shorthand: N images, U units of images that stay together, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from segvit.dataset_tools.near_duplicates import Fingerprint, similar
from segvit.dataset_tools.splitting.split_lists import read_lists
from segvit.dataset_tools.splitting.split_options import SplitOptions
from segvit.dataset_tools.splitting.stratification import stratify
from segvit.datasets.name_groups import group_names
from segvit.errors import UserError


@dataclass(frozen=True)
class PooledImage:
    """An image to divide.

    Attributes:
        key: its path within the source, for lists.
        name: its file name in the new folder, in which groups are looked for; in the key, if their expression has a /.
        split: the split that the source says, or "".
        classes: (C,) bool, those that occur.
        fingerprint: None if the image is of a kind that is not compared.
    """

    key: str
    name: str
    split: str
    classes: np.ndarray
    fingerprint: Fingerprint | None


@dataclass(frozen=True)
class Splits:
    """A split, or "" for images that belong to none, of each image: once, or once for each fold.

    `notes` says how they were made.
    """

    assignments: list[list[str]]
    notes: list[str] = field(default_factory=list)


def make_splits(images: Sequence[PooledImage], options: SplitOptions) -> Splits:
    """Keep the splits of the lists or of the source, or divide anew. Equal images and options give equal splits.

    Raises UserError as `read_lists` and `group_names` do, or if there are fewer units than folds.
    """
    if options.lists:
        splits = read_lists(options.lists, [image.key for image in images])
        return Splits(
            [splits], [f"splits by the lists {', '.join(map(str, options.lists.values()))}", *_shared(images, splits)]
        )
    given = [image.split for image in images]
    if options.divides_anew:
        return _divide(images, list(range(len(images))), given, options)
    if {"train", "val"} <= set(given):
        # Images outside of all folders of splits, such as a logo, would be no training images by intention.
        return Splits([given], ["splits of the source", *_shared(images, given)])
    pool = [position for position, split in enumerate(given) if split in ("", "train", "val")]
    return _divide(images, pool, given, options)


def _divide(images: Sequence[PooledImage], pool: list[int], given: Sequence[str], options: SplitOptions) -> Splits:
    """Divide the images of the pool; the others keep their split."""
    pooled = [images[position] for position in pool]
    units = _units(pooled, options.groups)  # (N,) int
    num_units = int(units.max(initial=-1)) + 1
    has_class = np.zeros((num_units, len(images[0].classes)), dtype=bool)
    for unit, image in zip(units, pooled):
        has_class[unit] |= image.classes
    sizes = np.bincount(units, minlength=num_units)
    if options.folds:
        if num_units < options.folds:
            raise UserError(f"--folds {options.folds}: there are only {num_units} images or groups to divide")
        parts = stratify(has_class, sizes, np.full(options.folds, 1 / options.folds), seed=options.seed)[units]
        names = [np.where(parts == fold, "val", "train").tolist() for fold in range(options.folds)]
        how = f"{options.folds} folds"
    else:
        val, test = options.shares
        parts = stratify(has_class, sizes, np.array([1 - val - test, val, test]), seed=options.seed)[units]
        names = [np.array(["train", "val", "test"])[parts].tolist()]
        how = f"{100 * val:g} % to validate" + (f", {100 * test:g} % to test" if test else "")
    assignments = []
    for of_pool in names:
        splits = list(given)
        for position, split in zip(pool, of_pool):
            splits[position] = split
        assignments.append(splits)
    by_groups = f", groups {options.groups}" if options.groups else ""
    together = f", {len(pooled) - num_units} near duplicates kept together" if len(pooled) > num_units else ""
    notes = [f"divided by this command: {how}, seed {options.seed}{by_groups or together}"]
    return Splits(assignments, notes)


def _units(images: Sequence[PooledImage], groups: str) -> np.ndarray:
    """(N,) the number of the unit of each image: its group, and with it all images that look like one of the group."""
    units = np.arange(len(images))
    for position, others in _near_duplicates(images):
        _unite(units, np.append(others, position))
    if groups:
        names = [image.key if "/" in groups else image.name for image in images]
        for members in group_names(names, groups).values():
            _unite(units, np.array(members))
    return np.unique(units, return_inverse=True)[1]


def _unite(units: np.ndarray, members: np.ndarray) -> None:
    """Give the units of all members the number of the first one, in place."""
    first, *others = np.unique(units[members])
    for other in others:
        units[units == other] = first


def _near_duplicates(images: Sequence[PooledImage]) -> Iterator[tuple[int, np.ndarray]]:
    """The position of an image, and those of images that are identical or look alike.

    One image at a time: frames of a still camera are all alike, and have too many pairs for the memory.
    """
    known = np.array([position for position, image in enumerate(images) if image.fingerprint is not None], dtype=int)
    prints = [image.fingerprint for image in images if image.fingerprint is not None]
    thumbnails = [print_.thumbnail for print_ in prints]
    for index, others in similar(thumbnails, thumbnails):
        yield int(known[index]), known[others]
    identical: dict[bytes, list[int]] = {}
    for position, print_ in zip(known.tolist(), prints):
        identical.setdefault(print_.digest, []).append(position)
    for positions in identical.values():
        yield positions[0], np.array(positions)


def _shared(images: Sequence[PooledImage], splits: Sequence[str]) -> list[str]:
    """A note if splits that are kept share images."""
    of_image = np.array(splits)
    is_shared = np.zeros(len(images), dtype=bool)
    for position, others in _near_duplicates(images):
        elsewhere = others[(of_image[others] != of_image[position]) & (of_image[others] != "")]
        if splits[position] and len(elsewhere):
            is_shared[elsewhere] = is_shared[position] = True
    if not is_shared.any():
        return []
    return [
        f"{is_shared.sum()} images look like one of another split; --val-share 0.2 divides anew and keeps them together"
    ]
