"""PASCAL-Context (Mottaghi et al., 2014) on VOC2010's images, from its MATLAB files or PASCAL in Detail's JSON."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from segvit.classes.palette import voc_colors
from segvit.dataset_tools.preparation.benchmarks.pascal_annotations import (
    check_category_names,
    merge_run_length_masks,
    read_detail_json,
    read_label_list,
)
from segvit.dataset_tools.preparation.distribution import (
    IGNORED,
    Distribution,
    LabelledImage,
    LabelTable,
    Problem,
    Split,
    files_by_exact_stem,
)
from segvit.dataset_tools.preparation.readers import read_mat, read_split_list
from segvit.datasets.benchmarks.pascal_context import FOLDER, PASCAL_CONTEXT_CATEGORIES

SOURCES = ("mat", "json")
# The JSON has two training images and one validation image fewer.
SIZES = {"mat": {"train": 4998, "val": 5105}, "json": {"train": 4996, "val": 5104}}
NUM_LABELS = 459
MATS, LABELS, JSON = "trainval", "labels.txt", "trainval_merged.json"
VOC_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar"
MAT_URL = "https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz"


def find_pascal_context(root: Path, voc: Path, source: str | None = None) -> Distribution:
    """Find the annotations of the VOC2010 folder `voc`; the output is `root/pascal_context`, for 59 and 60 classes.

    Args:
        root: the datasets' root.
        voc: VOC2010's folder.
        source: "mat" or "json"; by default the MATLAB files if they exist.
    """
    if source is None:
        source = "json" if (voc / JSON).is_file() and not (voc / MATS).is_dir() else "mat"
    problems: list[Problem] = []
    notes: list[str] = []
    find = _find_mats if source == "mat" else _find_detail
    labelled = find(voc, files_by_exact_stem(voc / "JPEGImages", ".jpg"), problems, notes)
    return Distribution(
        name=f"PASCAL-Context from {MATS + '/*.mat' if source == 'mat' else JSON}",
        folder=root / FOLDER,
        dataset_folder=root / FOLDER,
        version=f"segvit pascal_context from {source} 1",
        read=partial(read_mat, field="LabelMap") if source == "mat" else merge_run_length_masks,
        tables=_label_tables(),
        splits=[_split(root / FOLDER, name, SIZES[source][name], images) for name, images in labelled.items()],
        problems=problems,
        notes=notes,
    )


def _label_tables() -> list[LabelTable]:
    classes = [raw for raw, _ in PASCAL_CONTEXT_CATEGORIES]
    foreground = {**dict.fromkeys(range(NUM_LABELS + 1), IGNORED), **{raw: index for index, raw in enumerate(classes)}}
    with_background = {
        **dict.fromkeys(range(NUM_LABELS + 1), 0),
        **{raw: index for index, raw in enumerate(classes, 1)},
    }
    colors = voc_colors(1 + len(classes))
    return [LabelTable(foreground, colors=colors[1:]), LabelTable(with_background, colors=colors)]


def _split(folder: Path, name: str, expected: int, images: list[LabelledImage]) -> Split:
    annotation_dirs = [folder / f"annotations_{classes}" / name for classes in (59, 60)]
    return Split(name, expected, folder / "images" / name, annotation_dirs, images)


def _find_mats(
    voc: Path, images: dict[str, Path], problems: list[Problem], notes: list[str]
) -> dict[str, list[LabelledImage]]:
    """Split -> the images of VOC2010's split lists that have a .mat file."""
    mats = files_by_exact_stem(voc / MATS, ".mat")
    if not mats:
        what = f"no .mat files; unpack {MAT_URL} in {voc}, or put {JSON} there"
        problems.append(Problem(voc / MATS, what, is_missing=True))
    if not (voc / LABELS).is_file():
        notes.append(f"no {voc / LABELS}: assuming that the labels are numbered as in the distribution")
    else:
        names = read_label_list(voc / LABELS)
        check_category_names(voc / LABELS, names, PASCAL_CONTEXT_CATEGORIES, problems, notes)
    labelled = {}
    for name in SIZES["mat"]:
        listed = read_split_list(voc / "ImageSets" / "Main" / f"{name}.txt", problems)
        sources = {stem: mats[stem] for stem in listed if stem in mats}
        labelled[name] = [
            LabelledImage(stem, images[stem], mat, mat) for stem, mat in sources.items() if stem in images
        ]
        _report_missing_images(voc, sources, images, problems)
    return labelled


def _find_detail(
    voc: Path, images: dict[str, Path], problems: list[Problem], notes: list[str]
) -> dict[str, list[LabelledImage]]:
    """Split -> the annotated images of the JSON, which also defines the splits."""
    path = voc / JSON
    if not path.is_file():
        problems.append(Problem(path, "PASCAL in Detail's annotations", is_missing=True))
        return {name: [] for name in SIZES["json"]}
    detail = read_detail_json(path)
    check_category_names(path, detail.categories, PASCAL_CONTEXT_CATEGORIES, problems, notes)
    labelled = {}
    for name in SIZES["json"]:
        sources = detail.splits.get(name, {})
        labelled[name] = [
            LabelledImage(stem, images[stem], masks, path) for stem, masks in sources.items() if stem in images
        ]
        _report_missing_images(voc, sources, images, problems)
    return labelled


def _report_missing_images(
    voc: Path, annotated: Iterable[str], images: dict[str, Path], problems: list[Problem]
) -> None:
    folder = voc / "JPEGImages"
    if not images:
        missing = Problem(folder, f"no JPEGs; unpack {VOC_URL}, so that VOCdevkit/VOC2010 is {voc}", is_missing=True)
        problems.extend([missing] if missing not in problems else [])
        return
    problems.extend(
        Problem(folder / f"{stem}.jpg", "the image of an annotation", is_missing=True)
        for stem in annotated
        if stem not in images
    )
