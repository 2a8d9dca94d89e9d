"""Turns colour pictures of labels into index PNGs.

Shape shorthand in this module: H x W: pixels of a label map.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from segvit.data.image_reading import read_levels
from segvit.dataset_tools.doctor.examination import Diagnosis
from segvit.dataset_tools.doctor.finding import MAX_NAMED
from segvit.dataset_tools.doctor.inspection import Inspection
from segvit.datasets.class_list import ClassList, parse_color
from segvit.datasets.registration import Color
from segvit.errors import UserError


@dataclass(frozen=True)
class Palette:
    """Which id a colour stands for, and whether colours it lacks become `ignore_value` or are an error."""

    ids: Mapping[Color, int]
    num_classes: int
    ignore_value: int
    unlisted_as_ignored: bool = False

    @property
    def allowed_ids(self) -> set[int]:
        return {*range(self.num_classes), self.ignore_value}


def palette_of(classes: ClassList, ignore_value: int, *, unlisted_as_ignored: bool) -> Palette:
    """The palette that the classes' own colours make; an empty one where they have none.

    Raises UserError where classes share a colour.
    """
    colors = classes.colors if classes.colors_given else ()
    ids = {color: class_id for class_id, color in enumerate(colors)}
    if len(ids) < len(colors):
        raise UserError("classes of this data set share a colour: give colours that differ by --palette")
    return Palette(ids, len(classes.names), ignore_value, unlisted_as_ignored)


def read_palette(
    path: str | os.PathLike[str], classes: ClassList, ignore_value: int, *, unlisted_as_ignored: bool
) -> Palette:
    """Read a JSON list of {"name": ..., "color": [r, g, b]}.

    A class may have several colours; the name null stands for pixels that do not count. Raises UserError, naming the
    file, where it is malformed, names an unknown class, or gives a colour twice.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"palette {path} does not exist")
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
        ids: dict[Color, int] = {}
        for entry in entries:
            name, color = entry["name"], parse_color(entry["color"], str(entry["name"]))
            if name is not None and name not in classes.names:
                raise UserError(f"{name!r} is none of the classes {', '.join(classes.names)}")
            if color in ids:
                raise UserError(f"the colour {list(color)} is listed twice")
            ids[color] = ignore_value if name is None else classes.names.index(name)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f'{path}: a JSON list of {{"name": ..., "color": [r, g, b]}} is needed') from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return Palette(ids, len(classes.names), ignore_value, unlisted_as_ignored)


def to_ids(picture: np.ndarray, palette: Palette) -> np.ndarray:
    """(H, W, channels) colours to (H, W) ids, uint8 or, for ids above 255, uint16. Alpha is not looked at.

    Where the palette lacks colours, but all are greys whose level is an id (a label map saved with three channels), the
    level is taken. Raises UserError with the colours that the palette lacks otherwise.
    """
    if picture.shape[2] < 3:
        picture = picture[..., [0, 0, 0]]  # grey and alpha
    red, green, blue = (picture[..., channel].astype(np.uint32) for channel in range(3))
    codes, positions = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    colors = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes]
    unlisted = [color for color in colors if color not in palette.ids]
    if unlisted and all(len(set(color)) == 1 and color[0] in palette.allowed_ids for color in colors):
        ids = [color[0] for color in colors]
    elif unlisted and not palette.unlisted_as_ignored:
        raise UserError(_describe_unlisted(unlisted, palette))
    else:
        ids = [palette.ids.get(color, palette.ignore_value) for color in colors]
    wide = max(palette.allowed_ids) > 255
    return np.array(ids)[positions].reshape(picture.shape[:2]).astype(np.uint16 if wide else np.uint8)


def _describe_unlisted(unlisted: Sequence[Color], palette: Palette) -> str:
    named = ", ".join(map(str, unlisted[:MAX_NAMED])) + (", ..." if len(unlisted) > MAX_NAMED else "")
    if not palette.ids:
        return f"there is no palette for its colours {named}: give colours in a classes.json, or by --palette"
    return f"the palette lacks {len(unlisted)} of its colours: {named}"


def convert_to_folder(diagnosis: Diagnosis, palette: Palette, target: str | os.PathLike[str]) -> list[Path]:
    """Write `target/<split>/<stem>.png` for every label map: converted where it is a colour picture, else copied.

    The folder appears complete or not at all. Returns the converted files. Raises FileExistsError where it exists,
    ValueError, naming each file, where colours are not in the palette.
    """
    target = Path(target)
    if target.exists():
        raise FileExistsError(f"{target} exists: name a folder that does not, or remove it first")
    with _unfinished(target) as folder:
        converted = _convert(diagnosis, palette, folder)
        for split, inspection in tqdm(_label_maps(diagnosis, colored=False), desc="copying", unit="label map"):
            (folder / split).mkdir(parents=True, exist_ok=True)
            shutil.copy2(inspection.pair.label_map, folder / split / inspection.pair.label_map.name)
        folder.rename(target)
    return [target / path.relative_to(folder) for path in converted.values()]


def convert_in_place(diagnosis: Diagnosis, palette: Palette) -> list[Path]:
    """Replace each colour picture by its ids, after all of them have been converted. Returns the files.

    Raises UserError, naming each file, where colours are not in the palette; nothing is replaced then.
    """
    folders = {it.pair.label_map.parent for _, it in _label_maps(diagnosis, colored=True)}
    if not folders:
        return []
    beside = Path(os.path.commonpath(folders)) / "converted"  # on the same disk, so that replacing is atomic
    with _unfinished(beside) as folder:
        converted = _convert(diagnosis, palette, folder)
        for label_map, ids in converted.items():
            ids.replace(label_map)
    return list(converted)


def _convert(diagnosis: Diagnosis, palette: Palette, folder: Path) -> dict[Path, Path]:
    """Colour picture -> the file of its ids below `folder`."""
    converted: dict[Path, Path] = {}
    failures = []
    for split, inspection in tqdm(_label_maps(diagnosis, colored=True), desc="converting", unit="label map"):
        label_map = inspection.pair.label_map
        try:
            ids = to_ids(read_levels(label_map), palette)
        except ValueError as error:
            failures.append(f"{label_map}: {error}")
            continue
        (folder / split).mkdir(parents=True, exist_ok=True)
        converted[label_map] = folder / split / label_map.name
        Image.fromarray(ids).save(converted[label_map])
    if failures:
        remedy = ["list these colours, too, or add --unlisted-as-ignored"] if palette.ids else []
        raise UserError("\n".join(["no label map was converted, for", *failures, *remedy]))
    return converted


def _label_maps(diagnosis: Diagnosis, *, colored: bool) -> list[tuple[str, Inspection]]:
    return [
        (split, it) for split, items in diagnosis.inspections.items() for it in items if (it.channels > 1) is colored
    ]


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """A folder beside `target` that is gone afterwards, unless it was renamed."""
    folder = target.with_name(f".{target.name}-{os.getpid()}")
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
