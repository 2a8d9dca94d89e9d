"""ADE20K's scene-parsing benchmark, `ADEChallengeData2016.zip` (Zhou et al., 2017), for Detectron2's registration."""

from __future__ import annotations

from pathlib import Path

from segvit.classes.palette import distinct_colors
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
from segvit.datasets.benchmarks.ade20k_full import FOLDER as FULL_FOLDER
from segvit.datasets.benchmarks.ade20k_full import full_ade20k_hint, refuse_full_ade20k

NUM_CLASSES = 150
SIZES = {"training": 20210, "validation": 2000}
URL = "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip"


def find_ade20k(root: Path) -> Distribution:
    """Find `root/ADEChallengeData2016`: raw id 0, "other", becomes 255; the classes 1 to 150 become 0 to 149.

    Raises UserError if only the full set of 847 classes is there.
    """
    folder = root / "ADEChallengeData2016"
    if not folder.is_dir() and (root / FULL_FOLDER).is_dir():
        refuse_full_ade20k(str(root / FULL_FOLDER))
    class_ids = {0: IGNORED, **{raw: raw - 1 for raw in range(1, NUM_CLASSES + 1)}}
    problems: list[Problem] = []
    return Distribution(
        name="ADE20K",
        folder=folder / "annotations_detectron2",
        dataset_folder=folder,
        version="segvit ade20k 1",
        read=read_index_png,
        tables=[LabelTable(class_ids, colors=distinct_colors(NUM_CLASSES), hint=hint_of_full_set)],
        splits=[_find_split(folder, name, problems) for name in SIZES],
        problems=problems,
    )


def hint_of_full_set(ids: list[int]) -> str:
    """What to add to a message on these raw ids, where they are those of the full set."""
    return full_ade20k_hint(ids, NUM_CLASSES)


def _find_split(folder: Path, name: str, problems: list[Problem]) -> Split:
    image_dir = folder / "images" / name
    raw_dir = folder / "annotations" / name
    # The extensions that Detectron2's registration lists.
    images = files_by_exact_stem(image_dir, ".jpg")
    label_maps = files_by_exact_stem(raw_dir, ".png")
    for directory, files, kind in ((image_dir, images, "JPEGs"), (raw_dir, label_maps, "label maps")):
        if not files:
            problems.append(Problem(directory, f"no {kind}; unpack {URL} in {folder.parent}", is_missing=True))
    # An error: Detectron2 pairs the two listings by position, so one unpaired file shifts all that follow.
    labelled = labelled_pairs(images, label_maps, problems, is_missing=False)
    return Split(name, SIZES[name], image_dir, [folder / "annotations_detectron2" / name], labelled)
