"""Datasets that cannot be trained on or evaluated."""

import shutil

import numpy as np
from cases import EVALUATION, STARTED, TRAINING, Case, both, changed, checkpoint, classes, cut, saved, with_ids, written
from PIL import Image

IMAGE, LABELS = "images/train/b.jpg", "annotations/train/b.png"
AGAIN = "download it again, or remove it from the dataset"
LEVELS = (
    "the image's levels are not integers from 0 to 255 or 65535: convert it to 8 bits, choosing which levels become 0 "
    "and 255"
)
WRONG_IDS = (
    "are neither in 0..2 nor the ignore value 255; correct the label map, or set MODEL.SEM_SEG_HEAD.NUM_CLASSES (now "
    "3) or MODEL.SEM_SEG_HEAD.IGNORE_VALUE to match it"
)
ENTRIES = 'must be a list of {"name": ..., "color": [r, g, b]}, class 0 first'
COLORED = "the label map has {} channels (a colour image?); it must be a single-channel PNG whose pixels are class ids"
EXTENSIONS = (
    ".avif, .bmp, .gif, .j2k, .jfif, .jp2, .jpe, .jpeg, .jpg, .pbm, .pgm, .png, .pnm, .ppm, .tga, .tif, .tiff, .webp"
)


def damaged(reason):
    return f"not an image, or damaged ({reason}): {AGAIN}"


def remove(name):
    def given(world):
        path = world.data / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return given


def empty(name):
    return both(remove(name), lambda world: (world.data / name).mkdir())


def link(name, target):
    return both(remove(name), lambda world: (world.data / name).symlink_to(target))


def halved(image):
    return image.resize((16, 12), Image.Resampling.NEAREST)


def turn_by_exif(world):
    """The camera's note that a picture is to be shown upright; its label map was drawn on the picture as it lies."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(world.data / IMAGE) as image:
        image.copy().save(world.data / IMAGE, exif=exif)


SETS = [
    Case("no folder", "DATASETS.FOLDER: folder HOME/nowhere does not exist", ("DATASETS.FOLDER", "HOME/nowhere")),
    Case(
        "a folder for none",
        "this config needs a folder of images: end the command with DATASETS.FOLDER /path/to/it",
        ("DATASETS.FOLDER", ""),
    ),
    Case(
        "no classes",
        "DATASETS.FOLDER: HOME/data has no classes.txt (one class name per line, in the order of the ids) and no "
        "classes.json",
        given=remove("classes.json"),
    ),
    Case(
        "classes twice",
        "HOME/data has both classes.txt and classes.json: keep one of them",
        given=written("data/classes.txt", "grass\nroad\nsky\n"),
    ),
    Case("no class", "HOME/data/classes.txt: contains no class name", given=classes("")),
    Case(
        "a gap among the classes",
        "HOME/data/classes.txt: line 2 is empty, which would shift the ids of the classes after it",
        given=classes("grass\n\nsky\n"),
    ),
    Case(
        "one name for two classes",
        "HOME/data/classes.txt: classes 0 and 2 share the name 'grass'",
        given=classes("grass\nroad\ngrass\n"),
    ),
    Case(
        "a class name that writes to the terminal",
        r"HOME/data/classes.txt: the name '\x1b[2Jroad' has unprintable characters: remove them",
        given=classes("grass\n\x1b[2Jroad\nsky\n"),
    ),
    Case(
        "classes that are no JSON",
        "HOME/data/classes.json: not JSON (Expecting value: line 1 column 1 (char 0)); " + ENTRIES,
        given=written("data/classes.json", "grass, road, sky"),
    ),
    Case(
        "classes in a JSON of another form",
        "HOME/data/classes.json: " + ENTRIES,
        given=written("data/classes.json", "{}"),
    ),
    Case(
        "no training images",
        "dataset 'folder_train': folder HOME/data/images/train does not exist (your own dataset is read from "
        "DATASETS.FOLDER, registered datasets from $DETECTRON2_DATASETS, by default ./datasets); datasets/README.md "
        "explains how to get and prepare each dataset",
        given=remove("images/train"),
    ),
    Case(
        "a dataset of no image",
        f"dataset 'folder_train': HOME/data/images/train: no file with an extension of {EXTENSIONS}",
        given=both(empty("images/train"), empty("annotations/train")),
    ),
    Case(
        "a dataset of no label map",
        "dataset 'folder_val': HOME/data/annotations/val: no file with an extension of .png",
        given=empty("annotations/val"),
    ),
    Case(
        "an image without labels",
        "dataset 'folder_train': 1 images in HOME/data/images/train without a label map in HOME/data/annotations/train"
        ": b; the two must have the same name up to the extension",
        given=remove(LABELS),
    ),
    Case(
        "labels without an image",
        "dataset 'folder_train': 1 label maps in HOME/data/annotations/train without an image in "
        "HOME/data/images/train: b; the two must have the same name up to the extension",
        given=remove(IMAGE),
    ),
    Case(
        "two images of one name",
        "dataset 'folder_train': HOME/data/images/train: b.jpg and b.png have the same stem: keep one of them",
        given=lambda world: shutil.copy(world.data / IMAGE, world.data / "images/train/b.png"),
    ),
    Case(
        "an unknown dataset",
        "unknown dataset 'camvid_sem_seg_vall'; near: camvid_sem_seg_val, camvid_sem_seg_train, camvid_sem_seg_test",
        ("DATASETS.TEST", "('camvid_sem_seg_vall',)"),
    ),
    Case(
        "an unknown split",
        "DATASETS.TRAIN or DATASETS.TEST names ['folder_test'], but the datasets of the folder are ['folder_train', "
        "'folder_val']",
        ("DATASETS.TEST", "('folder_test',)"),
    ),
    Case(
        "nothing to train on",
        "DATASETS.TRAIN is empty: name a data set, such as \"('folder_train',)\"",
        ("DATASETS.TRAIN", "()"),
    ),
    Case(
        "nothing to evaluate on",
        "DATASETS.TEST is empty: name a data set, such as \"('folder_test',)\"",
        (*EVALUATION, "DATASETS.TEST", "()"),
        checkpoint(),
    ),
    Case(
        "a number of classes that is not the folder's",
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES is 7, but HOME/data has 3 classes; 0 means the number of classes of the folder",
        ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "7"),
    ),
    Case(
        "an ignore value that is a class",
        "the ignore value 1 is also the id of class 'road'; give ignored pixels an id that no class has, and set "
        "MODEL.SEM_SEG_HEAD.IGNORE_VALUE (check_dataset.py: --ignore-value) to it",
        ("MODEL.SEM_SEG_HEAD.IGNORE_VALUE", "1"),
    ),
]

FILES = [
    Case(
        name,
        f"HOME/data/{file}: {message}",
        given=given,
        leaves=TRAINING,
    )
    for name, file, message, given in [
        (
            "an image that is gone",
            IMAGE,
            "No such file or directory; bring it back, or correct the path",
            link(IMAGE, "/nowhere/b.jpg"),
        ),
        ("an image of no byte", IMAGE, f"empty (0 bytes): {AGAIN}", cut(IMAGE, 0)),
        ("half an image", IMAGE, damaged("Truncated File Read"), cut(IMAGE)),
        (
            "a text for an image",
            IMAGE,
            damaged("in no image format that Pillow reads"),
            written(f"data/{IMAGE}", "hello"),
        ),
        (
            "an image of fractions",
            "images/train/a.tif",
            LEVELS,
            saved("images/train/a.tif", np.full((24, 32), 0.5, np.float32)),
        ),
        (
            "an image of 32 bits",
            "images/train/a.tif",
            LEVELS,
            saved("images/train/a.tif", np.full((24, 32), 70000, np.int32)),
        ),
        ("labels of no byte", LABELS, f"empty (0 bytes): {AGAIN}", cut(LABELS, 0)),
        ("half a label map", LABELS, damaged("image file is truncated"), cut(LABELS)),
        ("labels in colours", LABELS, COLORED.format(3), changed(LABELS, lambda image: image.convert("RGB"))),
        ("labels with alpha", LABELS, COLORED.format(2), changed(LABELS, lambda image: image.convert("LA"))),
        (
            "labels as fractions",
            LABELS,
            "the label map has fractional levels; it must be a PNG whose pixels are class ids",
            saved(LABELS, np.zeros((24, 32), np.float32), format="TIFF"),
        ),
        (
            "an id beyond the classes",
            LABELS,
            f"label ids [3] {WRONG_IDS}",
            with_ids(LABELS, lambda ids: np.where(ids == 2, 3, ids).astype(np.uint8)),
        ),
        (
            "ids of 16 bits",
            LABELS,
            f"label ids [300, 301, 302, 555] {WRONG_IDS}",
            with_ids(LABELS, lambda ids: ids.astype(np.uint16) + 300),
        ),
        (
            "labels smaller than the image",
            LABELS,
            "the label map is 16 x 12 pixels, its image HOME/data/images/train/b.jpg is 32 x 24",
            changed(LABELS, halved),
        ),
        (
            "labels of an image turned by EXIF",
            LABELS,
            "the label map is 32 x 24 pixels, its image HOME/data/images/train/b.jpg is 24 x 32; images are "
            "read with their EXIF rotation: rotate the label map, too",
            turn_by_exif,
        ),
    ]
]

EVALUATED = "annotations/val/f.png"
EVALUATIONS = [
    Case(f"evaluated: {name}", f"HOME/data/{file}: {message}", EVALUATION, both(checkpoint(), given), leaves=STARTED)
    for name, file, message, given in [
        ("half an image", "images/val/f.png", damaged("image file is truncated"), cut("images/val/f.png")),
        ("half a label map", EVALUATED, damaged("image file is truncated"), cut(EVALUATED)),
        ("labels in colours", EVALUATED, COLORED.format(3), changed(EVALUATED, lambda image: image.convert("RGB"))),
        (
            "an id beyond the classes",
            EVALUATED,
            "class ids [9] are neither in 0..2 nor the ignore label 255",
            with_ids(EVALUATED, lambda ids: np.full_like(ids, 9)),
        ),
        (
            "labels smaller than the image",
            EVALUATED,
            "the prediction has shape (3, 24, 32), but 3 classes and the ground truth need (3, 12, 16) (classes, "
            "height, width): is the label map as large as its image?",
            changed(EVALUATED, halved),
        ),
    ]
]

DATA_CASES = [
    *SETS,
    *FILES,
    *EVALUATIONS,
    Case(
        "half an image, read by a process of its own",
        f"HOME/data/{IMAGE}: {damaged('Truncated File Read')}",
        ("DATALOADER.NUM_WORKERS", "1"),
        cut(IMAGE),
        leaves=TRAINING,
    ),
]
