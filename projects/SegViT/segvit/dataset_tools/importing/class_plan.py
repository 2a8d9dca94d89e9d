"""`ClassPlan`: the classes of the new folder, and the id that each class of a source gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segvit.classes.palette import Color, distinct_colors
from segvit.dataset_tools.importing.source import (
    BACKGROUND,
    BACKGROUND_NAMES,
    IGNORED,
    IGNORED_NAMES,
    UNLABELLED,
    ReadOptions,
    Source,
    first_reason,
)
from segvit.errors import UserError

# What classes are called in messages of the command.
IGNORE_VALUE, IGNORE_VALUE_OF_16_BITS = 255, 65535


@dataclass(frozen=True)
class ClassPlan:
    """The classes and their colours by id, and what becomes of the source's.

    Attributes:
        names, colors: by class id.
        ids: class name of the source -> class id, or IGNORED.
        unlabelled: the id of pixels that no object covers, or IGNORED.
        is_background_added: the source has no class for these pixels; if it needs none, the class is left out again.
        notes: what was decided.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    ids: dict[str, int]
    unlabelled: int
    is_background_added: bool
    notes: tuple[str, ...]

    @property
    def ignore_value(self) -> int:
        """255, or 65535 where 255 may be a class."""
        return IGNORE_VALUE if len(self.names) <= IGNORE_VALUE else IGNORE_VALUE_OF_16_BITS

    def to_labels(self, canvas: np.ndarray) -> np.ndarray:
        """A canvas (H, W) of class ids, UNLABELLED and IGNORED -> the label map, uint8 or uint16."""
        # Index -1 is UNLABELLED and index -2 is IGNORED.
        table = np.arange(len(self.names) + 2)
        table[IGNORED] = self.ignore_value
        table[UNLABELLED] = self.ignore_value if self.unlabelled == IGNORED else self.unlabelled
        return table.astype(np.uint8 if self.ignore_value == IGNORE_VALUE else np.uint16)[canvas]

    def without(self, dropped: Sequence[int]) -> tuple[ClassPlan, np.ndarray]:
        """The plan without these class ids, and the new id of each old one, as a table over all ids."""
        kept = [class_id for class_id in range(len(self.names)) if class_id not in dropped]
        smaller = ClassPlan(
            names=tuple(self.names[class_id] for class_id in kept),
            colors=tuple(self.colors[class_id] for class_id in kept),
            ids={name: kept.index(class_id) for name, class_id in self.ids.items() if class_id in kept},
            unlabelled=kept.index(self.unlabelled) if self.unlabelled in kept else IGNORED,
            is_background_added=False,
            notes=self.notes,
        )
        new_ids = np.full(self.ignore_value + 1, smaller.ignore_value)
        new_ids[kept] = np.arange(len(kept))
        return smaller, new_ids


def plan_classes(
    source: Source,
    options: ReadOptions,
    *,
    unlabelled: Literal["", "background", "ignored"] = "",
    ignored_names: Sequence[str] = IGNORED_NAMES,
) -> ClassPlan:
    """The classes in the order of --classes, else of the source.

    Args:
        source: as read.
        options: of the command.
        unlabelled: what unlabelled pixels become; "" leaves it to the format.
        ignored_names: classes that become ignored pixels, compared in lower case.

    Raises UserError if no class is left, or a name cannot be one.
    """
    given = dict(options.class_names) or source.colors
    ignored = {name.lower() for name in ignored_names}
    kept = {_plain(name): color for name, color in given.items() if name.lower() not in ignored}
    unprintable = [name for name in kept if not name.isprintable() or not name]
    if unprintable:
        raise UserError(f"the class name {unprintable[0]!r} is empty or has unprintable characters: rename the class")
    default = "background" if options.unannotated == "background" else source.unlabelled
    to_background = (unlabelled or default) == "background"
    is_added = to_background and BACKGROUND not in kept
    names = [BACKGROUND, *kept] if is_added else list(kept)
    if not kept:
        if not source.images and source.skipped:
            raise UserError(f"no image can be imported: {first_reason(source.skipped)}")
        raise UserError("the source has no class: name them by --classes")
    ids = {name: names.index(_plain(name)) for name in {*source.colors, *given} if _plain(name) in names}
    ids |= {name: IGNORED for name in {*source.colors, *given} if name.lower() in ignored}
    return ClassPlan(
        names=tuple(names),
        colors=_colors([kept.get(name) for name in names]),
        ids=ids,
        unlabelled=names.index(BACKGROUND) if to_background else IGNORED,
        is_background_added=is_added,
        notes=(*_notes(source, ids, names, to_background), *_unknown(ignored_names, known={*source.colors, *given})),
    )


def _notes(source: Source, ids: dict[str, int], names: Sequence[str], to_background: bool) -> list[str]:
    to_ignored = sorted(name for name, class_id in ids.items() if class_id == IGNORED)
    notes = [f"class {name!r} is ignored (--ignored names others)" for name in to_ignored]
    notes.append(f"unlabelled pixels are {'the class background' if to_background else 'ignored'} (--unlabelled)")
    by_lower: dict[str, str] = {}
    for name in names:
        other = by_lower.setdefault(name.lower(), name)
        if other != name:
            notes.append(f"classes {other!r} and {name!r} differ in case alone: are they one class?")
    missing = [name for name in source.colors if name not in ids]
    notes.extend(f"class {name!r} is not in --classes: its objects are left out" for name in missing)
    return notes


def _unknown(ignored_names: Sequence[str], *, known: set[str]) -> list[str]:
    """A note on names of --ignored that no class has; none on its defaults."""
    classes = {name.lower() for name in known}
    unknown = [name for name in ignored_names if name.lower() not in {*classes, *IGNORED_NAMES}]
    return [
        f"--ignored {name!r}: the source has no class of this name, but {', '.join(sorted(known))}" for name in unknown
    ]


def _plain(name: str) -> str:
    """The name of a class in the new folder."""
    return BACKGROUND if name.lower() in BACKGROUND_NAMES else name


def _colors(given: Sequence[Color | None]) -> tuple[Color, ...]:
    """The given colours where they are unique, and others for the rest."""
    used: set[Color] = set()
    spare = iter(distinct_colors(2 * len(given) + 1))
    taken = {color for color in given if color is not None}
    colors = []
    for color in given:
        if color is None or color in used:
            color = next(it for it in spare if it not in taken)
        used.add(color)
        colors.append(color)
    return tuple(colors)
