"""Cityscapes (Cordts et al., 2016): the 19 evaluated classes, which Detectron2 registers without their colours."""

from __future__ import annotations

from detectron2.data import MetadataCatalog

from segvit.classes.palette import Color

NAMES = tuple(f"cityscapes_fine_sem_seg_{split}" for split in ("train", "val", "test"))

# (id in *_labelIds.png, colour) of each class, by its "trainId"; all other ids are ignored (255).
CITYSCAPES_CLASSES: tuple[tuple[int, Color], ...] = (
    (7, (128, 64, 128)),
    (8, (244, 35, 232)),
    (11, (70, 70, 70)),
    (12, (102, 102, 156)),
    (13, (190, 153, 153)),
    (17, (153, 153, 153)),
    (19, (250, 170, 30)),
    (20, (220, 220, 0)),
    (21, (107, 142, 35)),
    (22, (152, 251, 152)),
    (23, (70, 130, 180)),
    (24, (220, 20, 60)),
    (25, (255, 0, 0)),
    (26, (0, 0, 142)),
    (27, (0, 0, 70)),
    (28, (0, 60, 100)),
    (31, (0, 80, 100)),
    (32, (0, 0, 230)),
    (33, (119, 11, 32)),
)


def add_cityscapes_colors() -> None:
    """Give Detectron2's `cityscapes_fine_sem_seg_{train,val,test}` the colours of the distribution."""
    for name in NAMES:
        MetadataCatalog.get(name).stuff_colors = [color for _, color in CITYSCAPES_CLASSES]
