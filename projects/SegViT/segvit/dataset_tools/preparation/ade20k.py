"""ADE20K's scene-parsing benchmark, `ADEChallengeData2016.zip` (Zhou et al., 2017), for Detectron2's registration."""

from __future__ import annotations

from pathlib import Path

from segvit.dataset_tools.preparation.distribution import Distribution, Picture, Problem, Split, files_by_exact_stem
from segvit.dataset_tools.preparation.label_table import IGNORED, LabelTable
from segvit.dataset_tools.preparation.readers import read_index_png

NUM_CLASSES = 150
SIZES = {"training": 20210, "validation": 2000}
URL = "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip"


def find_ade20k(root: Path) -> Distribution:
    """Look at `root/ADEChallengeData2016`: "other", 0, becomes 255, and the classes 1 to 150 become 0 to 149."""
    folder = root / "ADEChallengeData2016"
    class_ids = {0: IGNORED, **{raw: raw - 1 for raw in range(1, NUM_CLASSES + 1)}}
    problems: list[Problem] = []
    return Distribution(
        name="ADE20K",
        folder=folder / "annotations_detectron2",
        data_set=folder,
        version="segvit ade20k 1",
        read=read_index_png,
        tables=[LabelTable(class_ids, num_classes=NUM_CLASSES)],
        splits=[_find_split(folder, name, problems) for name in SIZES],
        problems=problems,
    )


def _find_split(folder: Path, name: str, problems: list[Problem]) -> Split:
    image_dir, raw_dir = folder / "images" / name, folder / "annotations" / name
    # Detectron2 lists exactly these extensions.
    images, labels = files_by_exact_stem(image_dir, ".jpg"), files_by_exact_stem(raw_dir, ".png")
    for place, found, kind in ((image_dir, images, "JPEGs"), (raw_dir, labels, "label maps")):
        if not found:
            problems.append(Problem(place, f"no {kind}; unpack {URL} in {folder.parent}", is_missing=True))
    if images and labels:
        # Not merely missing: Detectron2 pairs the two folders by order, so that one stray file shifts all that follow.
        for found, others, place in ((images, labels, raw_dir), (labels, images, image_dir)):
            alone = [stem for stem in found if stem not in others]
            problems.extend(Problem(found[stem], f"nothing of this name in {place}") for stem in alone)
    pictures = [Picture(stem, images[stem], labels[stem], labels[stem]) for stem in images if stem in labels]
    return Split(name, SIZES[name], image_dir, [folder / "annotations_detectron2" / name], pictures)
