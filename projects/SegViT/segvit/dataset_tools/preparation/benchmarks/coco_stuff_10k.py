"""COCO-Stuff-10K v1.1 (Caesar et al., 2018), `cocostuff-10k-v1.1.zip`: MATLAB label maps and split lists."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from segvit.classes.palette import distinct_colors
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
from segvit.datasets.benchmarks.coco_stuff_10k import ANNOTATIONS, COCO_STUFF_10K_CATEGORIES, FOLDER, IMAGES

SIZES = {"train": 9000, "test": 1000}
URL = "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/cocostuff-10k-v1.1.zip"


def find_coco_stuff_10k(root: Path) -> Distribution:
    """Find `root/coco/coco_stuff_10k`: the 171 raw ids in use become 0 to 170, in order; raw id 0 becomes 255."""
    folder = root / FOLDER
    class_ids = {raw: index for index, (raw, _) in enumerate(COCO_STUFF_10K_CATEGORIES)}
    problems: list[Problem] = []
    images = files_by_exact_stem(folder / "images", ".jpg")
    label_maps = files_by_exact_stem(folder / "annotations", ".mat")
    for subfolder, files, kind in (("images", images, "JPEGs"), ("annotations", label_maps, ".mat files")):
        if not files:
            problems.append(Problem(folder / subfolder, f"no {kind}; unpack {URL} in {folder}", is_missing=True))
    return Distribution(
        name="COCO-Stuff-10K",
        folder=folder,
        dataset_folder=folder,
        version="segvit coco_stuff_10k 1",
        read=partial(read_mat, field="S"),
        tables=[LabelTable({0: IGNORED, **class_ids}, colors=distinct_colors(len(class_ids)))],
        splits=[_find_split(folder, name, images, label_maps, problems) for name in SIZES],
        problems=problems,
    )


def _find_split(
    folder: Path, name: str, images: dict[str, Path], label_maps: dict[str, Path], problems: list[Problem]
) -> Split:
    labelled = []
    for stem in read_split_list(folder / "imageLists" / f"{name}.txt", problems):
        if stem in images and stem in label_maps:
            labelled.append(LabelledImage(stem, images[stem], label_maps[stem], label_maps[stem]))
        if images and stem not in images:
            problems.append(Problem(folder / "images" / f"{stem}.jpg", f"listed in {name}.txt", is_missing=True))
        if label_maps and stem not in label_maps:
            problems.append(Problem(folder / "annotations" / f"{stem}.mat", f"listed in {name}.txt", is_missing=True))
    return Split(name, SIZES[name], folder / IMAGES / name, [folder / ANNOTATIONS / name], labelled)
