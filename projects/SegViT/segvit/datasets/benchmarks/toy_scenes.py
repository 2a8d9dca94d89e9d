"""Toy scenes: the generated dataset of the demo and the quick schedules (`datasets/generate_toy_scenes.py`)."""

from __future__ import annotations

from segvit.datasets.registration import register_sem_seg_split

# (name, colour) by class id; 255 is ignored.
TOY_SCENES_CATEGORIES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("sky", (112, 176, 232)),
    ("hill", (72, 112, 112)),
    ("ground", (176, 148, 104)),
    ("water", (32, 88, 168)),
    ("building", (168, 72, 64)),
    ("tree", (40, 152, 48)),
    ("pole", (232, 200, 48)),
    ("sign", (232, 96, 168)),
    ("ball", (240, 136, 40)),
    ("fence", (136, 96, 192)),
)
CLASS_IDS: dict[str, int] = {name: index for index, (name, _) in enumerate(TOY_SCENES_CATEGORIES)}


def register_toy_scenes() -> None:
    """Register `toy_scenes_sem_seg_{train,val}` on `$DETECTRON2_DATASETS/toy_scenes/{images,annotations}/{split}`."""
    for split in ("train", "val"):
        register_sem_seg_split(
            f"toy_scenes_sem_seg_{split}",
            folder="toy_scenes",
            split=split,
            stuff_classes=[name for name, _ in TOY_SCENES_CATEGORIES],
            stuff_colors=[color for _, color in TOY_SCENES_CATEGORIES],
        )
