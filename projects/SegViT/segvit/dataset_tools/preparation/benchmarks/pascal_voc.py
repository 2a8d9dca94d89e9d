"""PASCAL VOC 2012's segmentation, `VOCtrainval_11-May-2012.tar`, and SBD's labels of more images, `benchmark.tgz`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from segvit.classes.palette import voc_colors
from segvit.dataset_tools.preparation.distribution import (
    IGNORED,
    Distribution,
    LabelledImage,
    LabelTable,
    Problem,
    Split,
    files_by_exact_stem,
)
from segvit.dataset_tools.preparation.readers import read_index_png, read_mat, read_split_list
from segvit.datasets.benchmarks.pascal_voc import FOLDER, PASCAL_VOC_CLASSES

# "trainaug" is the union of VOC's training images and all of SBD's, without VOC's validation images.
SIZES = {"train": 1464, "trainaug": 10582, "val": 1449}
VOC_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
SBD_URL = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"


def find_pascal_voc(root: Path, voc: Path, sbd: Path | None) -> Distribution:
    """Find the label maps of VOC2012 and SBD; ids stay as they are: 0 is the background, 255 is void.

    Args:
        root: the datasets' root; the output is `root/pascal_voc_2012`.
        voc: VOC2012's folder.
        sbd: the folder of SBD with `cls`, `train.txt` and `val.txt`; None prepares VOC2012 alone.
    """
    problems: list[Problem] = []
    images = files_by_exact_stem(voc / "JPEGImages", ".jpg")
    if not images:
        what = f"no JPEGs; unpack {VOC_URL}, so that VOCdevkit/VOC2012 is {voc}"
        problems.append(Problem(voc / "JPEGImages", what, is_missing=True))
    label_maps = files_by_exact_stem(voc / "SegmentationClass", ".png")
    lists = {name: _listed(voc, name, problems) for name in ("train", "val")}
    sources = {name: _sources(stems, label_maps, voc / "SegmentationClass", problems) for name, stems in lists.items()}
    if sbd is not None:
        sources["trainaug"] = sources["train"] | _find_sbd(sbd, {*lists["train"], *lists["val"]}, problems)
    classes = range(len(PASCAL_VOC_CLASSES))
    return Distribution(
        name="PASCAL VOC 2012" if sbd is None else "PASCAL VOC 2012 and SBD",
        folder=root / FOLDER,
        dataset_folder=root / FOLDER,
        version="segvit pascal_voc_2012 1",
        read=read_labels,
        tables=[LabelTable({IGNORED: IGNORED, **{index: index for index in classes}}, colors=voc_colors(len(classes)))],
        splits=[_split(root / FOLDER, name, images, found, problems) for name, found in sorted(sources.items())],
        problems=problems,
    )


def read_labels(path: Path) -> np.ndarray:
    """(H, W) ids of VOC's palette PNGs, and of SBD's .mat files."""
    return read_index_png(path) if path.suffix == ".png" else read_mat(path, field="GTcls", member="Segmentation")


def _listed(voc: Path, name: str, problems: list[Problem]) -> list[str]:
    return read_split_list(voc / "ImageSets" / "Segmentation" / f"{name}.txt", problems)


def _sources(stems: list[str], files: Mapping[str, Path], folder: Path, problems: list[Problem]) -> dict[str, Path]:
    """Stem -> label file. Listed stems without one are problems."""
    problems.extend(
        Problem(folder / stem, "the label map of a listed image", is_missing=True)
        for stem in stems
        if stem not in files
    )
    return {stem: files[stem] for stem in stems if stem in files}


def _find_sbd(sbd: Path, in_voc: set[str], problems: list[Problem]) -> dict[str, Path]:
    """Stem -> .mat file of SBD's images that VOC's own lists do not have."""
    mats = files_by_exact_stem(sbd / "cls", ".mat")
    if not mats:
        what = f"no .mat files; unpack {SBD_URL}, or prepare VOC2012 alone by --without-sbd"
        problems.append(Problem(sbd / "cls", what, is_missing=True))
        return {}
    listed = [stem for name in ("train", "val") for stem in read_split_list(sbd / f"{name}.txt", problems)]
    return _sources([stem for stem in listed if stem not in in_voc], mats, sbd / "cls", problems)


def _split(
    folder: Path, name: str, images: Mapping[str, Path], sources: Mapping[str, Path], problems: list[Problem]
) -> Split:
    missing = [stem for stem in sources if images and stem not in images]
    problems.extend(
        Problem(Path(f"{stem}.jpg"), f"the image of a label map of {name}", is_missing=True) for stem in missing
    )
    labelled = [LabelledImage(stem, images[stem], path, path) for stem, path in sources.items() if stem in images]
    return Split(name, SIZES[name], folder / "images" / name, [folder / "annotations" / name], labelled)
