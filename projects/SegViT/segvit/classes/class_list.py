"""`ClassList`: class names and colours of a user's folder, read from its `classes.txt` or `classes.json`.

Shape shorthand: K classes.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segvit.classes.palette import Color, colors_beside, distinct_colors
from segvit.errors import UserError

# The file of a model folder, a dict with these entries as "classes".
MODEL_CLASSES = "classes.json"
EXPECTED_FORMAT = 'must be a list of {"name": ..., "color": [r, g, b]}, class 0 first'


@dataclass(frozen=True)
class ClassList:
    """K names and K colours, by class id; `colors_given` is False for default colours."""

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    colors_given: bool

    @classmethod
    def with_default_colors(cls, names: Sequence[str]) -> ClassList:
        """These names, with colours that can be told apart."""
        return cls(names=tuple(names), colors=tuple(distinct_colors(len(names))), colors_given=False)

    @classmethod
    def with_known_colors(cls, names: Sequence[str], known: Iterable[ClassList]) -> ClassList:
        """These names, each with the colour that the first of the known lists gives it, or one far from those."""
        given: dict[str, Color] = {}
        for classes in known:
            for name, color in zip(classes.names, classes.colors, strict=True):
                if name in names and color not in given.values():
                    given.setdefault(name, color)
        others = iter(colors_beside(list(given.values()), len(names) - len(given)))
        colors = tuple(given[name] if name in given else next(others) for name in names)
        return cls(names=tuple(names), colors=colors, colors_given=bool(given))

    @classmethod
    def numbered(cls, num_classes: int) -> ClassList:
        """The names "class 0", "class 1" and so on, with default colours."""
        return cls.with_default_colors([f"class {index}" for index in range(num_classes)])


def read_class_list(folder: str | os.PathLike[str]) -> ClassList:
    """Read `classes.txt` (one name a line) or `classes.json` (a list of {"name": ..., "color": [r, g, b]}).

    The position in the file, from 0, is the class id. The colours are optional.

    Raises:
        FileNotFoundError: the folder has neither file.
        UserError: it has both, or names or colours are missing, malformed or repeated; names the file.
    """
    text, structured = Path(folder, "classes.txt"), Path(folder, "classes.json")
    if text.is_file() and structured.is_file():
        raise UserError(f"{folder} has both classes.txt and classes.json: keep one of them")
    if not (text.is_file() or structured.is_file()):
        raise FileNotFoundError(
            f"{folder} has no classes.txt (one class name per line, in the order of the ids) and no classes.json"
        )
    try:
        return _parse_text(read_text(text)) if text.is_file() else _parse_json(read_text(structured))
    except ValueError as error:
        raise UserError(f"{text if text.is_file() else structured}: {error}") from error


def read_model_classes(path: Path) -> ClassList:
    """Read `classes.json` of a model folder. Raises UserError, naming the file, if it is malformed."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["classes"]
        names = tuple(str(entry["name"]) for entry in entries)
        colors = tuple(parse_color(entry["color"], str(entry["name"])) for entry in entries)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} must hold "classes", a list of {{"name": ..., "color": [r, g, b]}}: {error}'
        ) from error
    return ClassList(names=names, colors=colors, colors_given=True)


def parse_color(color: Any, class_name: str) -> Color:
    """Check [r, g, b] of integers from 0 to 255. Raises UserError, beginning with `class_name`, otherwise."""
    is_list = isinstance(color, list) and len(color) == 3
    if not is_list or not all(isinstance(value, int) and 0 <= value <= 255 for value in color):
        raise UserError(f"{class_name}: a colour is [red, green, blue], integers from 0 to 255, not {color!r}")
    return color[0], color[1], color[2]


def read_text(path: Path) -> str:
    """A text file in UTF-8, or UTF-16 with a byte order mark. Raises UserError for other encodings."""
    content = path.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"line {line} is not in UTF-8: save the file in UTF-8") from error
    if "\0" in text:
        raise UserError("not a text in UTF-8 (it has zero bytes): save the file in UTF-8")
    return text


def _parse_text(content: str) -> ClassList:
    names = [line.strip() for line in content.rstrip().splitlines()]
    if "" in names:
        raise UserError(f"line {names.index('') + 1} is empty, which would shift the ids of the classes after it")
    _check_names(names)
    return ClassList.with_default_colors(names)


def _parse_json(content: str) -> ClassList:
    try:
        entries = json.loads(content)
    except ValueError as error:
        raise UserError(f"not JSON ({error}); {EXPECTED_FORMAT}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(EXPECTED_FORMAT)
    unknown = sorted({key for entry in entries for key in entry} - {"name", "color"})
    if unknown:
        raise UserError(f'unknown {", ".join(unknown)}; an entry has only "name" and "color"; its position is the id')
    names = [entry.get("name") for entry in entries]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError('every entry needs a "name"')
    _check_names(names)
    given = [entry["color"] for entry in entries if "color" in entry]
    if not given:
        return ClassList.with_default_colors(names)
    if len(given) < len(names):
        raise UserError(f'{len(names) - len(given)} of {len(names)} entries lack a "color": give all of them or none')
    colors = [parse_color(color, name) for name, color in zip(names, given)]
    _check_unique(colors, "the colour")
    return ClassList(names=tuple(names), colors=tuple(colors), colors_given=True)


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise UserError("contains no class name")
    unprintable = [name for name in names if not name.isprintable()]
    if unprintable:
        raise UserError(f"the name {unprintable[0]!r} has unprintable characters: remove them")
    _check_unique(names, "the name")


def _check_unique(values: Sequence[Any], what: str) -> None:
    for class_id, value in enumerate(values):
        if value in values[:class_id]:
            raise UserError(f"classes {values.index(value)} and {class_id} share {what} {value!r}")
