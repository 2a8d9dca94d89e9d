"""PASCAL-Context (Mottaghi et al., 2014): its 59 frequent classes, with or without the background."""

from __future__ import annotations

from segvit.classes.palette import voc_colors
from segvit.datasets.registration import register_sem_seg_split

FOLDER = "pascal_context"

# (id among the distribution's 459 labels, name), in alphabetical order.
PASCAL_CONTEXT_CATEGORIES: tuple[tuple[int, str], ...] = (
    *((2, "aeroplane"), (9, "bag"), (18, "bed"), (19, "bedclothes"), (22, "bench"), (23, "bicycle"), (25, "bird")),
    *((31, "boat"), (33, "book"), (34, "bottle"), (44, "building"), (45, "bus"), (46, "cabinet"), (59, "car")),
    *((65, "cat"), (68, "ceiling"), (72, "chair"), (80, "cloth"), (85, "computer"), (98, "cow"), (104, "cup")),
    *((105, "curtain"), (113, "dog"), (115, "door"), (144, "fence"), (158, "floor"), (159, "flower"), (162, "food")),
    *((187, "grass"), (189, "ground"), (207, "horse"), (220, "keyboard"), (232, "light"), (258, "motorbike")),
    *((259, "mountain"), (260, "mouse"), (284, "person"), (295, "plate"), (296, "platform"), (308, "pottedplant")),
    *((324, "road"), (326, "rock"), (347, "sheep"), (349, "shelves"), (354, "sidewalk"), (355, "sign"), (360, "sky")),
    *((366, "snow"), (368, "sofa"), (397, "table"), (415, "track"), (416, "train"), (420, "tree"), (424, "truck")),
    *((427, "tvmonitor"), (440, "wall"), (445, "water"), (454, "window"), (458, "wood")),
)


def register_pascal_context() -> None:
    """Register `pascal_context_{59,60}_sem_seg_{train,val}`.

    With 60 classes the background is class 0; with 59 it is ignored (255), and the other ids are smaller by one.
    """
    names = ["background", *(name for _, name in PASCAL_CONTEXT_CATEGORIES)]
    colors = voc_colors(len(names))
    for split in ("train", "val"):
        for first, num_classes in ((1, 59), (0, 60)):
            register_sem_seg_split(
                f"pascal_context_{num_classes}_sem_seg_{split}",
                folder=FOLDER,
                split=split,
                annotations=f"annotations_{num_classes}",
                stuff_classes=names[first:],
                stuff_colors=colors[first:],
            )
