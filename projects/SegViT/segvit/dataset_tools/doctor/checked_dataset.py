"""`CheckedDataset`: the splits of a user's folder or of registered datasets, as pairs of image and label map."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from segvit.classes.class_list import ClassList, read_class_list
from segvit.classes.palette import distinct_colors
from segvit.dataset_tools.doctor.finding import Finding
from segvit.datasets.annotation_formats import import_hint
from segvit.datasets.benchmarks.ade20k_full import refuse_full_ade20k
from segvit.datasets.folder import require_free_ignore_value, require_layout, split_names
from segvit.datasets.hugging_face import PREFIX, register_split
from segvit.datasets.pairs import ANNOTATION_EXTENSIONS, IMAGE_EXTENSIONS, files_by_stem
from segvit.datasets.registration import (
    folders_of,
    has_pair_folders,
    nearest_names,
    pair_folders,
    require_datasets,
    sem_seg_names,
)
from segvit.errors import UserError
from segvit.image_reading import ROWS

FilesByStem = Mapping[str, list[Path]]


@dataclass(frozen=True)
class Pair:
    """An image and its label map."""

    stem: str
    image: Path
    label_map: Path


@dataclass(frozen=True)
class Split:
    """The pairs of a split, and findings on files without a partner."""

    name: str
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class CheckedDataset:
    """Splits with the same classes and ignore value."""

    title: str
    classes: ClassList
    ignore_value: int
    splits: tuple[Split, ...]


def open_dataset(target: str, *, ignore_value: int = 255) -> CheckedDataset:
    """List the files of a folder or of registered datasets.

    Args:
        target: a folder laid out for DATASETS.FOLDER, the name of a registered dataset, or a common prefix of several
            names ("camvid_sem_seg": those whose folders exist).
        ignore_value: the id of ignored pixels in a folder; registered datasets define theirs.

    Raises:
        UserError: `target` is none of these, its classes are missing or malformed, or the ignore value is a class id.
    """
    refuse_full_ade20k(target)
    if target not in DatasetCatalog and Path(target).is_dir():
        return _open_folder(Path(target), ignore_value)
    known = sem_seg_names()
    names = [target] if target in known else _existing(known, target)
    if not names and os.sep in target:
        raise UserError(f"folder {target!r} does not exist{import_hint(target)}")
    if not names:
        raise UserError(
            f"{target!r} is neither a folder nor the name (or first part of the name) of a semantic segmentation "
            f"dataset whose folder exists; near: {', '.join(nearest_names(target))}"
        )
    return _open_registered(target, names)


def open_hugging_face(
    target: str, *, columns: Sequence[str], reduces: bool, classes: str, ignore_value: int
) -> CheckedDataset:
    """Open "hf:PATH_OR_NAME:SPLIT" or "hf:PATH_OR_NAME:SPLIT,SPLIT", see `register_split`.

    Raises:
        UserError: `target` has another form, or cannot be opened.
    """
    path, _, splits = target.removeprefix(PREFIX).rpartition(":")
    if not path or not all(splits.split(",")):
        raise UserError(f"{target!r} must be hf:PATH_OR_NAME:SPLIT, such as hf:/path/to/folder:train,validation")
    names = [
        register_split(path, split, columns=columns, reduces=reduces, classes=classes, ignore_value=ignore_value)
        for split in dict.fromkeys(splits.split(","))
    ]
    for name in names:
        DatasetCatalog.get(name)  # sets its classes
    return _open_registered(target, names)


def list_split(name: str, image_dir: Path, annotation_dir: Path, *, is_required: bool = True) -> Split:
    """Pair the files of two folders by stem; files without a partner become findings, never errors.

    A split that is not required may lack a folder: test images often have no label maps.
    """
    try:
        images = files_by_stem(image_dir, IMAGE_EXTENSIONS)
        annotations = files_by_stem(annotation_dir, IMAGE_EXTENSIONS)
    except FileNotFoundError as error:
        return Split(name, (), (Finding("missing_folder", "error" if is_required else "warning", name, str(error)),))
    label_maps = {stem: maps for stem, files in annotations.items() if (maps := _label_maps(files))}
    findings = tuple(_listing_findings(name, images, annotations, label_maps))
    matched = sorted(set(images) & set(label_maps))
    pairs = tuple(Pair(stem, images[stem][0], label_maps[stem][0]) for stem in matched)
    if not pairs:
        message = f"no pair of image and label map in {image_dir}, {annotation_dir}"
        findings += (Finding("empty", "error", name, message),)
    return Split(name, pairs, findings)


def list_records(name: str) -> Split:
    """The records of a registered dataset without two folders of its own, such as Cityscapes."""
    try:
        require_datasets([name])
    except UserError as error:
        return Split(name, (), (Finding("missing_folder", "error", name, str(error)),))
    records = [record for record in DatasetCatalog.get(name) if "sem_seg_file_name" in record]
    pairs = [
        Pair(Path(record["file_name"]).stem, Path(record["file_name"]), Path(record["sem_seg_file_name"]))
        for record in records
    ]
    there = [pair for pair in pairs if str(pair.label_map).startswith(ROWS) or pair.label_map.is_file()]
    missing = tuple(str(pair.label_map) for pair in pairs if pair not in there)
    message = "images have no label map; datasets/README.md explains how to prepare each dataset"
    findings = (Finding("image_without_label_map", "error", name, message, missing),) if missing else ()
    return Split(name, tuple(there), findings)


def _open_folder(folder: Path, ignore_value: int) -> CheckedDataset:
    try:
        classes = read_class_list(folder)
    except FileNotFoundError as error:
        raise UserError(f"{error}{import_hint(folder)}") from error
    require_layout(folder, origin="folder")
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
    return CheckedDataset(str(folder), classes, ignore_value, tuple(splits))


def _existing(known: Sequence[str], prefix: str) -> list[str]:
    """The datasets whose names begin with `prefix` and whose folders exist, without parts of others among them."""
    names = [name for name in known if name.startswith(prefix)]
    names = [name for name in names if (folders := folders_of(name)) and all(folder.is_dir() for folder in folders)]
    return [name for name in names if MetadataCatalog.get(name).get("part_of") not in names]


def _open_registered(title: str, names: Sequence[str]) -> CheckedDataset:
    metas = [MetadataCatalog.get(name) for name in names]
    kinds = {(tuple(meta.stuff_classes), meta.ignore_label) for meta in metas}
    if len(kinds) > 1:
        raise UserError(f"{title!r} matches datasets with different classes: {', '.join(names)}; name one of them")
    classes, ignore_value = kinds.pop()
    colors = metas[0].get("stuff_colors")  # Detectron2's ADE20K has none
    class_list = ClassList(
        names=classes,
        colors=tuple(tuple(color) for color in colors or distinct_colors(len(classes))),
        colors_given=bool(colors),
    )
    splits = [list_split(name, *pair_folders(name)) if has_pair_folders(name) else list_records(name) for name in names]
    return CheckedDataset(title, class_list, ignore_value, tuple(splits))


def _label_maps(files: Iterable[Path]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in ANNOTATION_EXTENSIONS]


def _listing_findings(
    name: str, images: FilesByStem, annotations: FilesByStem, label_maps: FilesByStem
) -> Iterator[Finding]:
    def finding(kind: str, message: str, files: Iterable[Path]) -> Iterator[Finding]:
        paths = tuple(str(path) for path in files)
        if paths:
            yield Finding(kind, "error", name, message, paths)

    yield from finding(
        "same_stem",
        "files share their name up to the extension with another one",
        [path for files in (*images.values(), *label_maps.values()) if len(files) > 1 for path in files],
    )
    yield from finding(
        "label_map_format",
        "label maps are not PNGs: other formats change ids or are not read; save them as single-channel PNGs",
        [path for stem, files in annotations.items() if stem not in label_maps for path in files],
    )
    yield from finding(
        "image_without_label_map",
        "images have no label map of the same name",
        [files[0] for stem, files in images.items() if stem not in annotations],
    )
    yield from finding(
        "label_map_without_image",
        "label maps have no image of the same name",
        [files[0] for stem, files in label_maps.items() if stem not in images],
    )
