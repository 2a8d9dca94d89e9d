"""`Palette`: the class id of each colour of colour label maps, from the class list or a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segvit.datasets.class_list import ClassList, parse_color, read_text
from segvit.datasets.registration import Color
from segvit.errors import UserError


@dataclass(frozen=True)
class Palette:
    """The id of each colour; unlisted colours become `ignore_value` or are an error."""

    ids: Mapping[Color, int]
    num_classes: int
    ignore_value: int
    unlisted_as_ignored: bool = False

    @property
    def allowed_ids(self) -> set[int]:
        return {*range(self.num_classes), self.ignore_value}


def palette_of(classes: ClassList, ignore_value: int, *, unlisted_as_ignored: bool) -> Palette:
    """The palette of the class list; empty if it has no colours. Raises UserError if two classes share a colour."""
    colors = classes.colors if classes.colors_given else ()
    ids = {color: class_id for class_id, color in enumerate(colors)}
    if len(ids) < len(colors):
        raise UserError("classes of this dataset share a colour: give different colours with --palette")
    return Palette(ids, len(classes.names), ignore_value, unlisted_as_ignored)


def read_palette(
    path: str | os.PathLike[str], classes: ClassList, ignore_value: int, *, unlisted_as_ignored: bool
) -> Palette:
    """Read a JSON list of {"name": ..., "color": [r, g, b]}.

    A class may have several colours; the name null is for ignored pixels. Raises UserError, naming the file, if it is
    malformed, names an unknown class, or lists a colour twice.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"palette {path} does not exist")
    try:
        entries = json.loads(read_text(path))
        ids: dict[Color, int] = {}
        for entry in entries:
            name, color = entry["name"], parse_color(entry["color"], str(entry["name"]))
            if name is not None and name not in classes.names:
                raise UserError(f"{name!r} is not one of the classes {', '.join(classes.names)}")
            if color in ids:
                raise UserError(f"the colour {list(color)} is listed twice")
            ids[color] = ignore_value if name is None else classes.names.index(name)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f'{path}: must be a JSON list of {{"name": ..., "color": [r, g, b]}}') from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return Palette(ids, len(classes.names), ignore_value, unlisted_as_ignored)
