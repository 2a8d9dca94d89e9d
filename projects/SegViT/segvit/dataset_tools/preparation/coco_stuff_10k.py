"""COCO-Stuff-10K v1.1 (Caesar et al., 2018), `cocostuff-10k-v1.1.zip`: MATLAB label maps and lists of the splits."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from segvit.dataset_tools.preparation.distribution import Distribution, Picture, Problem, Split, files_by_exact_stem
from segvit.dataset_tools.preparation.label_table import IGNORED, LabelTable
from segvit.dataset_tools.preparation.readers import read_mat
from segvit.dataset_tools.preparation.split_list import read_split_list
from segvit.datasets.coco_stuff_10k import ANNOTATIONS, COCO_STUFF_10K_CATEGORIES, FOLDER, IMAGES

SIZES = {"train": 9000, "test": 1000}
URL = "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/cocostuff-10k-v1.1.zip"


def find_coco_stuff_10k(root: Path) -> Distribution:
    """Look at `root/coco/coco_stuff_10k`: the 171 ids that occur become 0 to 170 in their order, 0 becomes 255."""
    folder = root / FOLDER
    class_ids = {raw: index for index, (raw, _) in enumerate(COCO_STUFF_10K_CATEGORIES)}
    problems: list[Problem] = []
    images, labels = files_by_exact_stem(folder / "images", ".jpg"), files_by_exact_stem(folder / "annotations", ".mat")
    for place, found, kind in (("images", images, "JPEGs"), ("annotations", labels, ".mat files")):
        if not found:
            problems.append(Problem(folder / place, f"no {kind}; unpack {URL} in {folder}", is_missing=True))
    return Distribution(
        name="COCO-Stuff-10K",
        folder=folder,
        data_set=folder,
        version="segvit coco_stuff_10k 1",
        read=partial(read_mat, field="S"),
        tables=[LabelTable({0: IGNORED, **class_ids}, num_classes=len(class_ids))],
        splits=[_find_split(folder, name, images, labels, problems) for name in SIZES],
        problems=problems,
    )


def _find_split(
    folder: Path, name: str, images: dict[str, Path], labels: dict[str, Path], problems: list[Problem]
) -> Split:
    pictures = []
    for stem in read_split_list(folder / "imageLists" / f"{name}.txt", problems):
        if stem in images and stem in labels:
            pictures.append(Picture(stem, images[stem], labels[stem], labels[stem]))
        if images and stem not in images:
            problems.append(Problem(folder / "images" / f"{stem}.jpg", f"listed in {name}.txt", is_missing=True))
        if labels and stem not in labels:
            problems.append(Problem(folder / "annotations" / f"{stem}.mat", f"listed in {name}.txt", is_missing=True))
    return Split(name, SIZES[name], folder / IMAGES / name, [folder / ANNOTATIONS / name], pictures)
