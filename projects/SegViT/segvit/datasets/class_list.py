"""The classes of a user's own folder, from its `classes.txt` or `classes.json`.

Shape shorthand in this module: K: classes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segvit.datasets.palette import distinct_colors
from segvit.datasets.registration import Color
from segvit.errors import UserError

ENTRIES_NEEDED = 'a list of {"name": ..., "color": [r, g, b]} is needed, the first of them class 0'


@dataclass(frozen=True)
class ClassList:
    """K names and K colours, by class id; `colors_given` is False where the colours were made up here."""

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    colors_given: bool


def read_class_list(folder: str | os.PathLike[str]) -> ClassList:
    """Read `classes.txt` (one name a line) or `classes.json` (a list of {"name": ..., "color": [r, g, b]}).

    The position in the file is the class id, from 0. Colours may be left out of all entries.

    Raises:
        FileNotFoundError: where the folder has neither file.
        UserError: naming the file, where both exist, or names or colours are missing, malformed or repeated.
    """
    text, structured = Path(folder, "classes.txt"), Path(folder, "classes.json")
    if text.is_file() and structured.is_file():
        raise UserError(f"{folder} has both classes.txt and classes.json: keep one of them")
    if not (text.is_file() or structured.is_file()):
        raise FileNotFoundError(
            f"{folder} has no classes.txt (one class name a line, in the order of the ids) and no classes.json"
        )
    try:
        return _parse_text(_read(text)) if text.is_file() else _parse_json(_read(structured))
    except ValueError as error:
        raise UserError(f"{text if text.is_file() else structured}: {error}") from error


def parse_color(color: Any, where: str) -> Color:
    """[r, g, b] of whole numbers from 0 to 255 as a tuple. Raises UserError, beginning with `where`, on others."""
    is_list = isinstance(color, list) and len(color) == 3
    if not is_list or not all(isinstance(value, int) and 0 <= value <= 255 for value in color):
        raise UserError(f"{where}: a colour is [red, green, blue], each a whole number from 0 to 255, not {color!r}")
    return color[0], color[1], color[2]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")  # Windows editors like to begin with a byte order mark


def _parse_text(content: str) -> ClassList:
    names = [line.strip() for line in content.rstrip().splitlines()]
    if "" in names:
        raise UserError(f"line {names.index('') + 1} is empty, which would shift the ids of the classes behind it")
    _check_names(names)
    return ClassList(names=tuple(names), colors=_made_up_colors(len(names)), colors_given=False)


def _parse_json(content: str) -> ClassList:
    try:
        entries = json.loads(content)
    except ValueError as error:
        raise UserError(f"no JSON ({error}); {ENTRIES_NEEDED}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(ENTRIES_NEEDED)
    unknown = sorted({key for entry in entries for key in entry} - {"name", "color"})
    if unknown:
        raise UserError(f'unknown {", ".join(unknown)}; an entry has "name" and "color", its position is the id')
    names = [entry.get("name") for entry in entries]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError('every entry needs a "name"')
    _check_names(names)
    given = [entry["color"] for entry in entries if "color" in entry]
    if not given:
        return ClassList(names=tuple(names), colors=_made_up_colors(len(names)), colors_given=False)
    if len(given) < len(names):
        raise UserError(f'{len(names) - len(given)} of {len(names)} entries lack a "color": give all of them or none')
    colors = [parse_color(color, name) for name, color in zip(names, given)]
    _check_unique(colors, "the colour")
    return ClassList(names=tuple(names), colors=tuple(colors), colors_given=True)


def _made_up_colors(count: int) -> tuple[Color, ...]:
    return tuple(distinct_colors(count, start=1))  # id 0 would be black, which an overlay hardly shows


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise UserError("no class is named")
    hidden = [name for name in names if not name.isprintable()]
    if hidden:
        raise UserError(f"the name {hidden[0]!r} has characters that cannot be shown: take them out")
    _check_unique(names, "the name")


def _check_unique(values: Sequence[Any], what: str) -> None:
    for class_id, value in enumerate(values):
        if value in values[:class_id]:
            raise UserError(f"classes {values.index(value)} and {class_id} share {what} {value!r}")
