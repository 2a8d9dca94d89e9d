"""Convert colour label maps to PNGs of class ids.

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

from segvit.data.label_reading import read_levels
from segvit.dataset_tools.doctor.dataset_report import DatasetReport
from segvit.dataset_tools.doctor.finding import MAX_LISTED
from segvit.dataset_tools.doctor.inspection import Inspection
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


def to_ids(image: np.ndarray, palette: Palette) -> np.ndarray:
    """(H, W, channels) colours -> (H, W) ids, uint8 or, for ids above 255, uint16. Alpha is ignored.

    A label map saved with three channels is also accepted: if the palette lacks a colour, and all colours are greys
    whose level is an id, the levels are the ids. Otherwise raises UserError, listing the colours that are missing.
    """
    if image.shape[2] < 3:
        image = image[..., [0, 0, 0]]  # grey with alpha
    red, green, blue = (image[..., channel].astype(np.uint32) for channel in range(3))
    codes, indices = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    colors = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes]
    unlisted = [color for color in colors if color not in palette.ids]
    if unlisted and all(len(set(color)) == 1 and color[0] in palette.allowed_ids for color in colors):
        ids = [color[0] for color in colors]
    elif unlisted and not palette.unlisted_as_ignored:
        raise UserError(_describe_unlisted(unlisted, palette))
    else:
        ids = [palette.ids.get(color, palette.ignore_value) for color in colors]
    dtype = np.uint16 if max(palette.allowed_ids) > 255 else np.uint8
    return np.array(ids)[indices].reshape(image.shape[:2]).astype(dtype)


def _describe_unlisted(unlisted: Sequence[Color], palette: Palette) -> str:
    listed = ", ".join(map(str, unlisted[:MAX_LISTED])) + (", ..." if len(unlisted) > MAX_LISTED else "")
    if not palette.ids:
        return f"no palette for its colours {listed}: add colours in classes.json, or give --palette"
    return f"the palette lacks {len(unlisted)} of its colours: {listed}"


def convert_to_folder(report: DatasetReport, palette: Palette, target: str | os.PathLike[str]) -> list[Path]:
    """Write `target/<split>/<stem>.png` for every label map: converted if it is a colour image, else copied.

    The folder is written atomically. Returns the converted files. Raises FileExistsError if it exists; UserError,
    naming each file, if the palette lacks colours.
    """
    target = Path(target)
    if target.exists():
        raise FileExistsError(f"{target} exists: name a new folder, or remove this one first")
    with _temporary_folder(target) as folder:
        converted = _convert(report, palette, folder)
        for split, inspection in tqdm(_label_maps(report, colored=False), desc="copying", unit="label map"):
            (folder / split).mkdir(parents=True, exist_ok=True)
            shutil.copy2(inspection.pair.label_map, folder / split / inspection.pair.label_map.name)
        folder.rename(target)
    return [target / path.relative_to(folder) for path in converted.values()]


def convert_in_place(report: DatasetReport, palette: Palette) -> list[Path]:
    """Replace each colour label map by its ids, once all have been converted. Returns the files.

    Raises UserError, naming each file, if the palette lacks colours; then nothing is replaced.
    """
    folders = {it.pair.label_map.parent for _, it in _label_maps(report, colored=True)}
    if not folders:
        return []
    sibling = Path(os.path.commonpath(folders)) / "converted"  # on the same disk, so that replacing is atomic
    with _temporary_folder(sibling) as folder:
        converted = _convert(report, palette, folder)
        for label_map, ids in converted.items():
            ids.replace(label_map)
    return list(converted)


def _convert(report: DatasetReport, palette: Palette, folder: Path) -> dict[Path, Path]:
    """Convert into `folder`. Returns colour label map -> file of its ids."""
    converted: dict[Path, Path] = {}
    failures = []
    for split, inspection in tqdm(_label_maps(report, colored=True), desc="converting", unit="label map"):
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
        remedy = ["add these colours to the palette, or use --unlisted-as-ignored"] if palette.ids else []
        raise UserError("\n".join(["no label map was converted:", *failures, *remedy]))
    return converted


def _label_maps(report: DatasetReport, *, colored: bool) -> list[tuple[str, Inspection]]:
    return [(split, it) for split, items in report.inspections.items() for it in items if (it.channels > 1) is colored]


@contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    """A folder next to `target`, removed at the end unless it has been renamed."""
    folder = target.with_name(f".{target.name}-{os.getpid()}")
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
