"""PASCAL-Context (Mottaghi et al., 2014) on VOC2010's images, from its MATLAB files or PASCAL in Detail's JSON."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from segvit.dataset_tools.preparation.category_names import check_category_names, read_label_list
from segvit.dataset_tools.preparation.distribution import Distribution, Picture, Problem, Split, files_by_exact_stem
from segvit.dataset_tools.preparation.label_table import IGNORED, LabelTable
from segvit.dataset_tools.preparation.pascal_detail import read_detail_json
from segvit.dataset_tools.preparation.readers import read_mat
from segvit.dataset_tools.preparation.run_length_masks import merge_run_length_masks
from segvit.dataset_tools.preparation.split_list import read_split_list
from segvit.datasets.pascal_context import FOLDER, PASCAL_CONTEXT_CATEGORIES

SOURCES = ("mat", "json")
# The JSON holds two pictures less in training and one less in validation.
SIZES = {"mat": {"train": 4998, "val": 5105}, "json": {"train": 4996, "val": 5104}}
NUM_LABELS = 459
MATS, LABELS, JSON = "trainval", "labels.txt", "trainval_merged.json"
VOC_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar"
MAT_URL = "https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz"


def find_pascal_context(root: Path, voc: Path, source: str | None = None) -> Distribution:
    """Look at the VOC2010 folder `voc` for labels from `source`, by default from the MATLAB files if there are any.

    Everything is written to `root/pascal_context`, with 59 and with 60 classes.
    """
    if source is None:
        source = "json" if (voc / JSON).is_file() and not (voc / MATS).is_dir() else "mat"
    problems: list[Problem] = []
    notes: list[str] = []
    find = _find_mats if source == "mat" else _find_detail
    pictures = find(voc, files_by_exact_stem(voc / "JPEGImages", ".jpg"), problems, notes)
    return Distribution(
        name=f"PASCAL-Context from {MATS + '/*.mat' if source == 'mat' else JSON}",
        folder=root / FOLDER,
        data_set=root / FOLDER,
        version=f"segvit pascal_context from {source} 1",
        read=partial(read_mat, field="LabelMap") if source == "mat" else merge_run_length_masks,
        tables=_label_tables(),
        splits=[_split(root / FOLDER, name, SIZES[source][name], found) for name, found in pictures.items()],
        problems=problems,
        notes=notes,
    )


def _label_tables() -> list[LabelTable]:
    classes = [raw for raw, _ in PASCAL_CONTEXT_CATEGORIES]
    without = {**dict.fromkeys(range(NUM_LABELS + 1), IGNORED), **{raw: index for index, raw in enumerate(classes)}}
    background = {**dict.fromkeys(range(NUM_LABELS + 1), 0), **{raw: index for index, raw in enumerate(classes, 1)}}
    return [LabelTable(without, num_classes=59), LabelTable(background, num_classes=60)]


def _split(folder: Path, name: str, expected: int, pictures: list[Picture]) -> Split:
    annotation_dirs = [folder / f"annotations_{classes}" / name for classes in (59, 60)]
    return Split(name, expected, folder / "images" / name, annotation_dirs, pictures)


def _find_mats(
    voc: Path, images: dict[str, Path], problems: list[Problem], notes: list[str]
) -> dict[str, list[Picture]]:
    """The annotated ones of the pictures in VOC2010's own lists."""
    mats = files_by_exact_stem(voc / MATS, ".mat")
    if not mats:
        what = f"no .mat files; unpack {MAT_URL} in {voc}, or put {JSON} there"
        problems.append(Problem(voc / MATS, what, is_missing=True))
    if not (voc / LABELS).is_file():
        notes.append(f"no {voc / LABELS}: the labels are taken to be numbered as in the distribution")
    else:
        names = read_label_list(voc / LABELS)
        check_category_names(voc / LABELS, names, PASCAL_CONTEXT_CATEGORIES, problems, notes)
    pictures = {}
    for name in SIZES["mat"]:
        listed = read_split_list(voc / "ImageSets" / "Main" / f"{name}.txt", problems)
        labelled = {stem: mats[stem] for stem in listed if stem in mats}
        pictures[name] = [Picture(stem, images[stem], mat, mat) for stem, mat in labelled.items() if stem in images]
        _report_missing_images(voc, labelled, images, problems)
    return pictures


def _find_detail(
    voc: Path, images: dict[str, Path], problems: list[Problem], notes: list[str]
) -> dict[str, list[Picture]]:
    """The annotated pictures of the JSON, which also says which split they are in."""
    path = voc / JSON
    if not path.is_file():
        problems.append(Problem(path, "PASCAL in Detail's annotations", is_missing=True))
        return {name: [] for name in SIZES["json"]}
    detail = read_detail_json(path)
    check_category_names(path, detail.categories, PASCAL_CONTEXT_CATEGORIES, problems, notes)
    pictures = {}
    for name in SIZES["json"]:
        labelled = detail.splits.get(name, {})
        pictures[name] = [
            Picture(stem, images[stem], masks, path) for stem, masks in labelled.items() if stem in images
        ]
        _report_missing_images(voc, labelled, images, problems)
    return pictures


def _report_missing_images(
    voc: Path, labelled: dict[str, object], images: dict[str, Path], problems: list[Problem]
) -> None:
    folder = voc / "JPEGImages"
    if not images:
        missing = Problem(folder, f"no JPEGs; unpack {VOC_URL}, so that VOCdevkit/VOC2010 is {voc}", is_missing=True)
        problems.extend([missing] if missing not in problems else [])
        return
    problems.extend(
        Problem(folder / f"{stem}.jpg", "the image of an annotation", is_missing=True)
        for stem in labelled
        if stem not in images
    )
