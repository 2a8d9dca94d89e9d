"""Cityscapes' fine annotations, `gtFine_trainvaltest.zip` with `leftImg8bit_trainvaltest.zip` (Cordts et al., 2016).

Detectron2's registration reads `*_gtFine_labelTrainIds.png`, which the distribution leaves to a script of its own
(`createTrainIdLabelImgs.py` of cityscapesScripts). They are `*_gtFine_labelIds.png` with other ids.
"""

from __future__ import annotations

from pathlib import Path

from segvit.dataset_tools.preparation.distribution import (
    IGNORED,
    Distribution,
    LabelledImage,
    LabelTable,
    Problem,
    Split,
)
from segvit.dataset_tools.preparation.readers import read_index_png
from segvit.datasets.benchmarks.cityscapes import CITYSCAPES_CLASSES

# The label maps of the test split hold no labels.
SIZES = {"train": 2975, "val": 500}
IMAGE, LABELS, TRAIN_IDS = "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_labelTrainIds"
URL = "https://www.cityscapes-dataset.com/downloads"
# Ids of *_labelIds.png; -1, the licence plate, is drawn as the car that it is on.
NUM_IDS = 34


def find_cityscapes(root: Path) -> Distribution:
    """Find `root/cityscapes/{leftImg8bit,gtFine}`: the 19 evaluated classes become 0 to 18, all other ids 255.

    The files are written beside those that they are made from.
    """
    folder = root / "cityscapes"
    class_ids = {raw: train_id for train_id, (raw, _) in enumerate(CITYSCAPES_CLASSES)}
    problems: list[Problem] = []
    colors = [color for _, color in CITYSCAPES_CLASSES]
    return Distribution(
        name="Cityscapes",
        folder=folder / "gtFine",
        dataset_folder=folder,
        version="segvit cityscapes 1",
        read=read_index_png,
        tables=[LabelTable({**dict.fromkeys(range(NUM_IDS), IGNORED), **class_ids}, colors=colors)],
        splits=[_find_split(folder, name, problems) for name in SIZES],
        problems=problems,
    )


def _find_split(folder: Path, name: str, problems: list[Problem]) -> Split:
    image_dir, label_dir = folder / "leftImg8bit" / name, folder / "gtFine" / name
    images = _files_by_stem(image_dir, IMAGE)
    label_maps = _files_by_stem(label_dir, LABELS)
    archives = ((image_dir, images, "leftImg8bit_trainvaltest.zip"), (label_dir, label_maps, "gtFine_trainvaltest.zip"))
    for directory, files, archive in archives:
        if not files:
            what = f"no files in folders of cities; unpack {archive} from {URL} in {folder}"
            problems.append(Problem(directory, what, is_missing=True))
    if images and label_maps:
        for files, others, other_dir in ((images, label_maps, label_dir), (label_maps, images, image_dir)):
            unpaired = [stem for stem in files if stem not in others]
            problems.extend(Problem(files[stem], f"no file of this frame in {other_dir}") for stem in unpaired)
    labelled = [
        LabelledImage(stem + TRAIN_IDS, images[stem], label_maps[stem], label_maps[stem])
        for stem in images
        if stem in label_maps
    ]
    return Split(name, SIZES[name], image_dir, [label_dir], labelled, has_subfolders=True)


def _files_by_stem(folder: Path, ending: str) -> dict[str, Path]:
    """ "aachen/aachen_000000_000019" -> file, of the files in folders of cities that have this ending."""
    files = sorted(folder.glob(f"*/*{ending}"))
    return {path.relative_to(folder).as_posix().removesuffix(ending): path for path in files}
