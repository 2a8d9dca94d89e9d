"""Toy scenes: the generated data set of the demo and the quick schedules (`datasets/generate_toy_scenes.py`)."""

from __future__ import annotations

from segvit.data.datasets.registration import register_sem_seg_split
from segvit.data.toy_scenes.classes import TOY_SCENES_CATEGORIES


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
