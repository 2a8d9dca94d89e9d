"""Miniature replicas of PASCAL VOC 2012, SBD and Cityscapes in the formats in which they are distributed."""

import numpy as np
import scipy.io
from PIL import Image

from helpers.dataset_replicas import HEIGHT, WIDTH, blocks, write_jpeg
from segvit.classes.palette import voc_colors

VOC_IDS = [*range(21), 255]
# Images of VOC's lists, and of SBD's: SBD has images of both of VOC's lists, too.
VOC = {"train": ["2007_000032", "2007_000039"], "val": ["2007_000033"]}
IN_VOC = (*VOC["train"], *VOC["val"])
SBD = {"train": ["2007_000032", "2008_000002"], "val": ["2007_000033", "2008_000003", "2008_000007"]}


def voc_labels(stem):
    return blocks(VOC_IDS, int(stem[-3:])).astype(np.uint8)


def write_voc(root):
    """VOC2012 as unpacked, with palette PNGs, and SBD's .mat files, whose labels differ by one row."""
    voc, sbd = root / "VOCdevkit" / "VOC2012", root / "benchmark_RELEASE" / "dataset"
    for folder in (voc / "SegmentationClass", voc / "ImageSets" / "Segmentation", sbd / "cls"):
        folder.mkdir(parents=True)
    for name, stems in VOC.items():
        (voc / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(stems) + "\n")
        for stem in stems:
            image = Image.fromarray(voc_labels(stem))
            image.putpalette([value for color in voc_colors(256) for value in color])
            image.save(voc / "SegmentationClass" / f"{stem}.png")
    for name, stems in SBD.items():
        (sbd / f"{name}.txt").write_text("\n".join(stems) + "\n")
        for stem in stems:
            labels = voc_labels(stem)
            labels[0] = 20
            content = {"Segmentation": labels, "Boundaries": np.zeros((20, 1)), "CategoriesPresent": [[1]]}
            scipy.io.savemat(sbd / "cls" / f"{stem}.mat", {"GTcls": content}, do_compression=True)
    for stem in {*IN_VOC, *SBD["train"], *SBD["val"]}:
        write_jpeg(voc / "JPEGImages" / f"{stem}.jpg", int(stem[-3:]))
    return voc, sbd


def write_cityscapes(root):
    """Cityscapes as unpacked: folders of cities, ids from 0 to 33, polygons, and a test split without labels."""
    frames = {
        "train": ["aachen_000000_000019", "aachen_000001_000019", "ulm_000000_000019"],
        "val": ["lindau_000000_000019"],
    }
    for split, names in frames.items():
        for seed, name in enumerate(names):
            city = name.partition("_")[0]
            images, labels = (root / "cityscapes" / kind / split / city for kind in ("leftImg8bit", "gtFine"))
            images.mkdir(parents=True, exist_ok=True)
            labels.mkdir(parents=True, exist_ok=True)
            write_jpeg(images / f"{name}_leftImg8bit.png", seed)
            Image.fromarray(blocks(range(34), seed).astype(np.uint8)).save(labels / f"{name}_gtFine_labelIds.png")
            (labels / f"{name}_gtFine_instanceIds.png").touch()
            (labels / f"{name}_gtFine_polygons.json").write_text(f'{{"imgHeight": {HEIGHT}, "imgWidth": {WIDTH}}}')
    return root / "cityscapes"
