"""PASCAL VOC 2012 segmentation (Everingham et al., 2015), with SBD's labels (Hariharan et al., 2011) as `trainaug`."""

from __future__ import annotations

from detectron2.data import MetadataCatalog

from segvit.classes.palette import voc_colors
from segvit.datasets.registration import register_sem_seg_split

FOLDER = "pascal_voc_2012"
SPLITS = ("train", "trainaug", "val")

# The names by class id; 255 is void, the borders of objects.
PASCAL_VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def register_pascal_voc() -> None:
    """Register `voc_2012_sem_seg_{train,trainaug,val}`; Detectron2's own `voc_2012_*` are for detection."""
    for split in SPLITS:
        register_sem_seg_split(
            f"voc_2012_sem_seg_{split}",
            folder=FOLDER,
            split=split,
            stuff_classes=PASCAL_VOC_CLASSES,
            stuff_colors=voc_colors(len(PASCAL_VOC_CLASSES)),
        )
    MetadataCatalog.get("voc_2012_sem_seg_train").part_of = "voc_2012_sem_seg_trainaug"
