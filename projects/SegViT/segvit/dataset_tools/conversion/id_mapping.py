"""Class ids for what label maps hold: `IdMapping` of other ids, such as 0 and 255, and `Palette` of colours."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segvit.classes.class_list import ClassList, parse_color, read_text
from segvit.datasets.registration import Color
from segvit.errors import UserError

FROM_ONE = "from-one"


@dataclass(frozen=True)
class IdMapping:
    """Old id -> new id; other ids do not change."""

    new_ids: Mapping[int, int] = field(default_factory=dict)

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """(H, W) integers or booleans -> (H, W) int64."""
        labels = labels.astype(np.int64)
        values, indices = np.unique(labels, return_inverse=True)
        mapped = np.array([self.new_ids.get(int(value), int(value)) for value in values], dtype=np.int64)
        return mapped[indices].reshape(labels.shape)


def parse_id_mapping(text: str, *, num_classes: int, ignore_value: int) -> IdMapping:
    """The value of --map-ids: "from-one" or "OLD=NEW,...", where NEW is an id or "ignore".

    "from-one" is for ids from 1 with 0 as void: 0 becomes the ignore value, and all others decrease by 1.

    Raises UserError for other texts.
    """
    if text == FROM_ONE:
        return IdMapping({0: ignore_value} | {label_id: label_id - 1 for label_id in range(1, num_classes + 1)})
    if not re.fullmatch(r"\d+=(\d+|ignore)(,\d+=(\d+|ignore))*", text):
        raise UserError(f"--map-ids {text!r} must be {FROM_ONE} or OLD=NEW,... such as 255=1 or 0=ignore,1=0,2=1")
    pairs = [pair.split("=") for pair in text.split(",")]
    return IdMapping({int(old): ignore_value if new == "ignore" else int(new) for old, new in pairs})


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
