"""Convert label maps to PNGs of class ids: from colours by a `Palette`, and from other ids by an `IdMapping`.

Shape shorthand: H x W pixels of a label map.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvit.data.label_reading import read_levels
from segvit.dataset_tools.conversion.id_mapping import IdMapping, Palette
from segvit.dataset_tools.doctor.dataset_report import DatasetReport
from segvit.dataset_tools.doctor.inspection import Inspection
from segvit.errors import UserError
from segvit.label_png import write_label_png
from segvit.output_files import link_or_copy, new_folder, temporary_folder
from segvit.progress import progress_bar

# How many colours or ids without a class an error lists.
MAX_LISTED_COLORS = 20


@dataclass(frozen=True)
class Converter:
    """Converts single label maps: greys whose level is an id, colours of the palette, and ids."""

    palette: Palette
    mapping: IdMapping

    def to_ids(self, levels: np.ndarray) -> tuple[np.ndarray, Counter[object]]:
        """(H, W) or (H, W, channels) -> (H, W) class ids, and the number of pixels of each value without a class.

        Alpha is ignored. Label maps with three channels may be greys whose levels are ids, unless the palette has all
        their colours.
        """
        allowed = self.palette.allowed_ids
        if levels.ndim == 2:
            ids = self.mapping(levels)
            values, counts = np.unique(ids, return_counts=True)
            without_class = {
                int(value): int(count) for value, count in zip(values, counts) if int(value) not in allowed
            }
            return self._as_stored(ids), Counter(without_class)
        if levels.shape[2] < 3:
            return self.to_ids(levels[..., 0])  # grey with alpha

        red, green, blue = (levels[..., channel].astype(np.uint32) for channel in range(3))
        codes, indices, counts = np.unique(red << 16 | green << 8 | blue, return_inverse=True, return_counts=True)
        colors = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes]
        unlisted = [index for index, color in enumerate(colors) if color not in self.palette.ids]
        if unlisted and all(len(set(color)) == 1 for color in colors):
            ids, unknown = self.to_ids(levels[..., 0])
            if not unknown:
                return ids, Counter()
        table = np.array([self.palette.ids.get(color, self.palette.ignore_value) for color in colors])
        ids = table[indices].reshape(levels.shape[:2])
        is_error = not self.palette.unlisted_as_ignored
        return self._as_stored(ids), Counter({colors[index]: int(counts[index]) for index in unlisted if is_error})

    def _as_stored(self, ids: np.ndarray) -> np.ndarray:
        return ids.astype(np.uint16 if max(self.palette.allowed_ids) > 255 else np.uint8)


def convert_label_maps(report: DatasetReport, converter: Converter, target: str | os.PathLike[str]) -> int:
    """Write `target/<split>/<stem>.png` for every label map: converted if necessary, else copied.

    The folder is written atomically. Returns the number of converted files. Raises FileExistsError if the folder
    exists; UserError if a label map has colours or ids without a class.
    """
    with new_folder(target) as folder:
        return _convert_all(report, converter, folder)


def convert_to_dataset(report: DatasetReport, converter: Converter, target: str | os.PathLike[str]) -> int:
    """Write a complete dataset folder: the class list, all images with a label map, and all label maps as ids.

    Images are hard links to the originals where the disk allows it, else copies. Returns and raises as
    `convert_label_maps`; also UserError for a registered dataset, which has no class list.
    """
    source = Path(report.dataset.title)
    class_files = [source / name for name in ("classes.txt", "classes.json") if (source / name).is_file()]
    if not class_files:
        raise UserError(f"--convert-to takes a FOLDER with a class list, not the registered dataset {source}")
    with new_folder(target) as folder:
        converted = _convert_all(report, converter, folder / "annotations")
        shutil.copy2(class_files[0], folder)
        for split, items in report.inspections.items():
            (folder / "images" / split).mkdir(parents=True, exist_ok=True)
            for inspection in items:
                image = inspection.pair.image
                link_or_copy(image, folder / "images" / split / image.name)
    return converted


def convert_in_place(report: DatasetReport, converter: Converter) -> int:
    """Replace label maps by their ids, after all of them have been converted. Returns and raises as above."""
    folders = {inspection.pair.label_map.parent for _, inspection in _label_maps(report, converter)}
    if not folders:
        return 0
    sibling = Path(os.path.commonpath(folders)) / "converted"  # on the same disk, so that replacing is atomic
    with temporary_folder(sibling) as folder:
        converted = _convert(report, converter, folder)
        for label_map, ids in converted.items():
            ids.replace(label_map)
    return len(converted)


def _convert_all(report: DatasetReport, converter: Converter, folder: Path) -> int:
    converted = _convert(report, converter, folder)
    for split, items in report.inspections.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for inspection in items:
            if inspection.pair.label_map not in converted:
                shutil.copy2(inspection.pair.label_map, folder / split / inspection.pair.label_map.name)
    return len(converted)


def _convert(report: DatasetReport, converter: Converter, folder: Path) -> dict[Path, Path]:
    """Convert into `folder`. Returns label map -> file of its ids."""
    converted: dict[Path, Path] = {}
    unknown: Counter[object] = Counter()
    num_files = num_pixels = 0
    label_maps = _label_maps(report, converter)
    for split, inspection in progress_bar(label_maps, title="converting", unit="label map"):
        label_map = inspection.pair.label_map
        ids, unknown_here = converter.to_ids(read_levels(label_map))
        num_pixels += ids.size
        num_files += bool(unknown_here)
        unknown += unknown_here
        if not unknown:
            converted[label_map] = folder / split / label_map.name
            write_label_png(converted[label_map], ids, report.dataset.classes.colors)
    if unknown:
        files = f"{num_files} of {len(label_maps)} label maps"
        raise UserError(_describe_unknown(unknown, num_pixels, files, converter.palette))
    return converted


def _label_maps(report: DatasetReport, converter: Converter) -> list[tuple[str, Inspection]]:
    """The readable label maps to convert, with their splits: colour images; all, if ids are mapped."""
    maps_ids = bool(converter.mapping.new_ids)
    items = [(split, it) for split, items in report.inspections.items() for it in items if not it.label_error]
    return [(split, it) for split, it in items if maps_ids or it.channels > 1]


def _describe_unknown(unknown: Counter[object], num_pixels: int, files: str, palette: Palette) -> str:
    """One list of the colours and ids without a class, most frequent first."""
    lines = [
        f"    {value}: {100 * count / num_pixels:.3g} %" for value, count in unknown.most_common(MAX_LISTED_COLORS)
    ]
    if len(unknown) > MAX_LISTED_COLORS:
        lines.append(f"    ... and {len(unknown) - MAX_LISTED_COLORS} more")
    if palette.ids:
        remedy = "add them to the palette, map ids by --map-ids, or use --unlisted-as-ignored for colours"
    else:
        remedy = (
            "give class colours in classes.json or --palette, or map ids by --map-ids (255=1 for masks of 0 and 255)"
        )
    title = f"no label map was converted: {files} have colours or ids without a class (fraction of all pixels):"
    return "\n".join([title, *lines, remedy])
