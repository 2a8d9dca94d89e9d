"""Lists of classes as tools write them: `find_class_list` returns names and colours in the order of the ids."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

from segvit.classes.class_list import parse_color, read_class_list, read_text
from segvit.classes.palette import Color
from segvit.errors import UserError

NamesAndColors = list[tuple[str, Color | None]]

# File names in the order in which they are looked for.
LISTS = (
    *("classes.json", "classes.txt", "labelmap.txt", "label_colors.txt", "class_dict.csv", "dataset_meta.json"),
    *("labels.txt", "codes.txt"),
)
LIST_EXTENSIONS = (".json", ".txt", ".csv")
# "name:r,g,b:parts:actions" of CVAT, and "r g b name" of CamVid.
LABELMAP_LINE = re.compile(r"([^:]+):(\d+),(\d+),(\d+):.*")
COLOR_FIRST_LINE = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(\S.*)")
# "7 road", "7: road", "7=road" and "7,road" of --ids.
ID_LINE = re.compile(r"(\d+)\s*[\s:=,;]\s*(\S.*)")


def find_class_list(folder: Path) -> tuple[Path, NamesAndColors] | None:
    """The first list of `LISTS` in a folder, and its content."""
    path = next((folder / name for name in LISTS if (folder / name).is_file()), None)
    return (path, read_classes(path)) if path is not None else None


def parse_classes(text: str) -> NamesAndColors:
    """The value of --classes: a file, or names separated by commas."""
    path = Path(text)
    if path.is_file():
        return read_classes(path)
    if path.suffix in LIST_EXTENSIONS or "/" in text:
        raise UserError(f"--classes {text}: there is no such file")
    names = [name.strip() for name in text.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"--classes {text!r} is no file, and not different names separated by commas")
    return [(name, None) for name in names]


def read_ids(path: Path) -> dict[int, str]:
    """The ids and names in a file with lines such as "7 road". Raises UserError, naming file and line."""
    found: dict[int, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = ID_LINE.fullmatch(line.strip())
        if match is None or int(match[1]) in found:
            raise UserError(
                f"{path}: line {number} is {line.strip()!r}, but should be an id and a name, such as: 7 road"
            )
        found[int(match[1])] = match[2].strip()
    if not found:
        raise UserError(f"{path}: holds no class")
    return found


def read_classes(path: Path) -> NamesAndColors:
    """The names and colours in a file; its name or its lines tell the form. Raises UserError, naming it."""
    if path.name in ("classes.json", "classes.txt"):
        listed = read_class_list(path.parent)
        return [(name, color if listed.colors_given else None) for name, color in zip(listed.names, listed.colors)]
    try:
        text = read_text(path)
        if path.suffix == ".json":
            found = _of_json(json.loads(text))
        elif path.suffix == ".csv":
            found = _of_table(list(csv.DictReader(text.splitlines())))
        else:
            found = [_of_line(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged or no list of classes ({error})") from error
    names = [name for name, _ in found]
    if len(set(names)) < len(names) or not names:
        raise UserError(f"{path}: {'has a name twice' if names else 'holds no class'}")
    return found


def _of_json(content: object) -> NamesAndColors:
    """A list as in classes.json, or the `dataset_meta.json` of Datumaro."""
    if isinstance(content, list):
        return [(str(it["name"]), parse_color(it["color"], it["name"]) if "color" in it else None) for it in content]
    assert isinstance(content, dict)
    names = {int(key): str(name) for key, name in content["label_map"].items()}
    colors = content.get("segmentation_colors") or [None] * len(names)
    if sorted(names) != list(range(len(names))) or len(colors) != len(names):
        raise UserError("label_map needs the ids from 0 and segmentation_colors as many colours")
    return [(names[key], parse_color(colors[key], names[key]) if colors[key] else None) for key in sorted(names)]


def _of_table(rows: Sequence[dict[str, str]]) -> NamesAndColors:
    """A table with the columns name, r, g, b."""
    lower = [{str(key).strip().lower(): str(value).strip() for key, value in row.items()} for row in rows]
    return [(row["name"], parse_color([int(row[key]) for key in "rgb"], row["name"])) for row in lower]


def _of_line(line: str) -> tuple[str, Color | None]:
    labelmap, color_first = LABELMAP_LINE.fullmatch(line.strip()), COLOR_FIRST_LINE.fullmatch(line.strip())
    if labelmap:
        return labelmap[1].strip(), parse_color([int(labelmap[index]) for index in (2, 3, 4)], labelmap[1])
    if color_first:
        return color_first[4].strip(), parse_color([int(color_first[index]) for index in (1, 2, 3)], color_first[4])
    return line.strip(), None
