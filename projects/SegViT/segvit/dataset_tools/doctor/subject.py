"""What the doctor examines: a user's folder, or data sets that are registered by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from segvit.dataset_tools.doctor.listing import Split, list_split
from segvit.datasets.class_list import ClassList, read_class_list
from segvit.datasets.folder import require_free_ignore_value, split_names
from segvit.datasets.palette import distinct_colors
from segvit.datasets.registration import nearest_names, pair_folders, sem_seg_names
from segvit.errors import UserError


@dataclass(frozen=True)
class Subject:
    """Splits that share their classes and their ignore value."""

    title: str
    classes: ClassList
    ignore_value: int
    splits: tuple[Split, ...]


def open_subject(target: str, *, ignore_value: int = 255) -> Subject:
    """Find what `target` names and list its files.

    Args:
        target: a folder laid out for DATASETS.FOLDER, the name of a registered data set, or what the names of several
            begin with ("camvid_sem_seg": of these the ones whose folders exist).
        ignore_value: the id that does not count, for a folder; registered data sets say theirs.

    Raises:
        UserError: where it is none of these, the classes are not given or malformed, or the ignore value is one's id.
    """
    if target not in DatasetCatalog and Path(target).is_dir():
        return _open_folder(Path(target), ignore_value)
    known = sem_seg_names()
    names = [target] if target in known else _existing(known, target)
    if not names and os.sep in target:
        raise UserError(f"there is no folder {target!r}")
    if not names:
        raise UserError(
            f"{target!r} is no folder, and no data set for semantic segmentation whose folder exists begins so; near: "
            f"{', '.join(nearest_names(target))}"
        )
    return _open_names(target, names)


def _open_folder(folder: Path, ignore_value: int) -> Subject:
    try:
        classes = read_class_list(folder)
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    require_free_ignore_value(classes, ignore_value)
    splits = [
        list_split(
            split,
            folder / "images" / split,
            folder / "annotations" / split,
            is_required=split in ("train", "val"),
        )
        for split in split_names(folder)
    ]
    return Subject(str(folder), classes, ignore_value, tuple(splits))


def _existing(known: Sequence[str], prefix: str) -> list[str]:
    """The data sets whose names begin so, as far as their folders exist."""
    names = [name for name in known if name.startswith(prefix)]
    return [name for name in names if all(folder.is_dir() for folder in pair_folders(name))]


def _open_names(title: str, names: Sequence[str]) -> Subject:
    metas = [MetadataCatalog.get(name) for name in names]
    kinds = {(tuple(meta.stuff_classes), meta.ignore_label) for meta in metas}
    if len(kinds) > 1:
        raise UserError(f"{title!r} stands for data sets of different classes: {', '.join(names)}; name one of them")
    classes, ignore_value = kinds.pop()
    colors = metas[0].get("stuff_colors")  # Detectron2's ADE20K has none
    class_list = ClassList(
        names=classes,
        colors=tuple(tuple(color) for color in colors or distinct_colors(len(classes), start=1)),
        colors_given=bool(colors),
    )
    splits = [list_split(name, *pair_folders(name)) for name in names]
    return Subject(title, class_list, ignore_value, tuple(splits))
