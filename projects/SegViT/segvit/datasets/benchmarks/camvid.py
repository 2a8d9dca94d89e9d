"""CamVid, the Cambridge-driving Labeled Video Database (Brostow et al., 2009), with the 11 classes of SegNet."""

from __future__ import annotations

from segvit.datasets.registration import Color, register_sem_seg_split

# (name, colour) by class id; 255 is void.
CAMVID_CATEGORIES: tuple[tuple[str, Color], ...] = (
    ("sky", (128, 128, 128)),
    ("building", (128, 0, 0)),
    ("pole", (192, 192, 128)),
    ("road", (128, 64, 128)),
    ("pavement", (60, 40, 222)),
    ("tree", (128, 128, 0)),
    ("sign", (192, 128, 128)),
    ("fence", (64, 64, 128)),
    ("car", (64, 0, 128)),
    ("pedestrian", (64, 64, 0)),
    ("bicyclist", (0, 128, 192)),
)


def register_camvid() -> None:
    """Register `camvid_sem_seg_{train,val,test}` on `$DETECTRON2_DATASETS/camvid/{images,annotations}/{split}`."""
    for split in ("train", "val", "test"):
        register_sem_seg_split(
            f"camvid_sem_seg_{split}",
            folder="camvid",
            split=split,
            stuff_classes=[name for name, _ in CAMVID_CATEGORIES],
            stuff_colors=[color for _, color in CAMVID_CATEGORIES],
        )
