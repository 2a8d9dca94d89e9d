"""COCO-Stuff-10K v1.1 (Caesar et al., 2018): 80 things and 91 stuff classes, in the order of the distribution's ids."""

from __future__ import annotations

from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

from segvit.classes.palette import distinct_colors
from segvit.datasets.registration import register_sem_seg_split

FOLDER = "coco/coco_stuff_10k"
IMAGES, ANNOTATIONS = "images_detectron2", "annotations_detectron2"
FIRST_STUFF_ID = 92
STUFF_NAMES = (
    *("banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard", "carpet"),
    *("ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard", "curtain", "desk-stuff"),
    *("dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood"),
    *("flower", "fog", "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house"),
    *("leaves", "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper"),
    *("pavement", "pillow", "plant-other", "plastic", "platform", "playingfield", "railing", "railroad", "river"),
    *("road", "rock", "roof", "rug", "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow"),
    *("solid-other", "stairs", "stone", "straw", "structural-other", "table", "tent", "textile-other", "towel"),
    *("tree", "vegetable", "wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile"),
    *("wall-wood", "water-other", "waterdrops", "window-blind", "window-other", "wood"),
)

# (id in the distribution, name), sorted by id; the class id is the index. Eleven ids of things are unused.
COCO_STUFF_10K_CATEGORIES: tuple[tuple[int, str], ...] = (
    *sorted((category["id"], category["name"]) for category in COCO_CATEGORIES if category["isthing"]),
    *enumerate(STUFF_NAMES, start=FIRST_STUFF_ID),
)


def register_coco_stuff_10k() -> None:
    """Register `coco_2017_{train,test}_stuff_10k_sem_seg`, the names that MaskFormer gave this dataset."""
    names = [name for _, name in COCO_STUFF_10K_CATEGORIES]
    for split in ("train", "test"):
        register_sem_seg_split(
            f"coco_2017_{split}_stuff_10k_sem_seg",
            folder=FOLDER,
            split=split,
            images=IMAGES,
            annotations=ANNOTATIONS,
            stuff_classes=names,
            stuff_colors=distinct_colors(len(names)),
        )
