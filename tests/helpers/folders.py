"""A small dataset in the layout of DATASETS.FOLDER.

Shape shorthand: H x W pixels of an image.
"""

import json

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 32
CLASSES = ("grass", "road", "sky")
COLORS = ((20, 200, 30), (90, 90, 90), (60, 120, 250))
# File names of the images. Sorted, their order differs from that of the label maps.
IMAGES = {"train": ("b.jpg", "a.tif", "d.webp", "c.bmp"), "val": ("f.png", "e.JPEG")}


def block_image(seed):
    """(H, W, 3) uint8 blocks of colours: thumbnails differ and JPEG changes little."""
    blocks = np.random.default_rng(seed).integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8)
    return blocks.repeat(4, 0).repeat(4, 1)


def label_map(seed):
    """(H, W) uint8 with every class; the first row is ignored."""
    labels = np.random.default_rng(seed).integers(0, 3, (HEIGHT // 4, WIDTH // 4), dtype=np.uint8)
    labels[-1, :3] = (0, 1, 2)
    labels = labels.repeat(4, 0).repeat(4, 1)
    labels[0] = 255
    return labels


def write_folder(folder, *, colors=True):
    """Four training and two validation pairs, and classes.json or, without colours, classes.txt."""
    for split, names in IMAGES.items():
        for kind in ("images", "annotations"):
            (folder / kind / split).mkdir(parents=True)
        for name in names:
            stem = name.partition(".")[0]
            Image.fromarray(block_image(ord(stem))).save(folder / "images" / split / name)
            Image.fromarray(label_map(ord(stem))).save(folder / "annotations" / split / f"{stem}.png")
    if colors:
        classes = [{"name": name, "color": color} for name, color in zip(CLASSES, COLORS)]
        (folder / "classes.json").write_text(json.dumps(classes))
    else:
        (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


def edit(path, change):
    """Replace a label map (H, W) by the result of `change`."""
    with Image.open(path) as image:
        labels = np.array(image)
    Image.fromarray(change(labels)).save(path)
