"""`read_source`: find the format of a source, or take the given one, and read it."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path

from segvit.dataset_tools.importing.readers.coco import read_coco
from segvit.dataset_tools.importing.readers.cvat import read_cvat
from segvit.dataset_tools.importing.readers.label_studio import read_label_studio
from segvit.dataset_tools.importing.readers.labelme import read_labelme
from segvit.dataset_tools.importing.readers.mask_pairs import has_pairs
from segvit.dataset_tools.importing.readers.masks import read_masks, read_voc
from segvit.dataset_tools.importing.readers.object_masks import read_object_masks
from segvit.dataset_tools.importing.readers.yolo import read_yolo
from segvit.dataset_tools.importing.source import ReadOptions, Source
from segvit.datasets.annotation_formats import TITLES, WEB_LABELME, DetectedFormat, detect_formats
from segvit.errors import UserError

# Readers of formats with annotation files.
FILE_READERS: dict[str, Callable[[Sequence[Path], Path, ReadOptions], Source]] = {
    "coco": read_coco,
    "labelme": read_labelme,
    "cvat": read_cvat,
    "label_studio": read_label_studio,
    "yolo": read_yolo,
}
AUTO = "auto"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
# All values of --format.
FORMATS = (AUTO, *FILE_READERS, "voc", "colors", "binary", "index", "objects")


def read_source(path: Path, options: ReadOptions, *, format: str = AUTO, annotations: str = "") -> Source:
    """Read an export.

    Args:
        path: its folder, or its annotation file.
        options: of the command.
        format: one of `FORMATS`; "auto" finds it.
        annotations: a pattern of names, such as "instances_*.json": other annotation files are not read.

    Raises:
        UserError: the source does not exist, its format cannot be told, it is damaged, or an option is not for it.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    root = path if path.is_dir() else path.parent
    if format != AUTO:
        _require_read(format, options, annotations)
    if format == "voc":
        return read_voc(root, options)
    if format in ("colors", "binary", "index"):
        return read_masks(root, options, kind=format)  # type: ignore[arg-type]
    if format == "objects":
        return read_object_masks(root, options)
    detected = DetectedFormat("masks", TITLES["masks"], ())
    if not (options.images and options.masks) and not options.mask_suffix:
        detected = _choose(path, detect_formats(path), format)
    _require_read(detected.name, options, annotations)
    if detected.name in FILE_READERS:
        files = [file for file in detected.files if not annotations or fnmatch.fnmatch(file.name, annotations)]
        if not files:
            raise UserError(f"--annotations {annotations!r} fits none of {', '.join(it.name for it in detected.files)}")
        return FILE_READERS[detected.name](files, root, options)
    if detected.name == WEB_LABELME:
        raise UserError(
            f"{detected.files[0]}: XML of the web LabelMe is not read: convert it to COCO or to LabelMe's JSON"
        )
    if detected.name == "voc":
        return read_voc(root, options)
    return read_masks(root, options) if has_pairs(root, options) else read_object_masks(root, options)


def _require_read(format: str, options: ReadOptions, annotations: str) -> None:
    """Raise UserError for an option that the reader of a format would not read."""
    of_masks = {"--masks": options.masks, "--mask-suffix": options.mask_suffix, "--ids": options.ids}
    of_files = {"--annotations": annotations, "--boxes": options.boxes, "--holes": options.holes}
    unread = of_masks if format in FILE_READERS else of_files
    if format in FILE_READERS and format != "coco":
        unread = {**unread, "--holes": options.holes}
    for option, value in unread.items():
        if value:
            raise UserError(
                f"{option} is not for {TITLES.get(format, format)}: leave it out, or choose another --format"
            )


def _choose(path: Path, detected: Sequence[DetectedFormat], format: str) -> DetectedFormat:
    """The format asked for, or the only one."""
    found = [it for it in detected if format in (AUTO, it.name)]
    if len(found) == 1:
        return found[0]
    if found:
        titles = ", ".join(f"--format {it.name}" for it in found)
        raise UserError(f"{path} holds annotations of several formats: choose one of {titles}")
    if format != AUTO:
        raise UserError(f"{path}: no annotation of {TITLES.get(format, format)} found")
    if path.suffix.lower() in ARCHIVES:
        raise UserError(f"{path} is an archive: unpack it, and name the folder")
    raise UserError(
        f"{path}: no annotations found; formats are {', '.join(FORMATS[1:])} (see docs/custom_data.md). Masks are in a "
        "folder such as masks/ or annotations/, end in _mask or _gt, or are named by --images FOLDER --masks FOLDER"
    )
