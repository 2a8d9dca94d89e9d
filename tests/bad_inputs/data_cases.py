"""Datasets that cannot be trained on or evaluated."""

import shutil

import numpy as np
from cases import (
    EVALUATED,
    EVALUATION,
    TRAINING,
    Case,
    both,
    changed,
    checkpoint,
    classes,
    cut,
    saved,
    with_ids,
    written,
)
from PIL import Image

IMAGE, LABELS = "images/train/b.jpg", "annotations/train/b.png"
VAL_IMAGE, VAL_LABELS = "images/val/f.png", "annotations/val/f.png"


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
    """A note of the camera that the image is to be turned; its label map is not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(world.data / IMAGE) as image:
        image.copy().save(world.data / IMAGE, exif=exif)


TXT, JSON = "HOME/data/classes.txt", "HOME/data/classes.json"
FOLDERS = [
    Case(name, mentions, given=given)
    for name, mentions, given in [
        (
            "export of LabelMe",
            "DATASETS.FOLDER LabelMe import_dataset.py HOME/data",
            both(remove("classes.json"), written("data/a.json", '{"shapes": [], "imagePath": "a.jpg"}')),
        ),
        (
            "export of COCO with a list of classes",
            "DATASETS.FOLDER COCO import_dataset.py HOME/data",
            both(
                both(remove("images"), remove("annotations")),
                written("data/instances.json", '{"images": [], "annotations": [], "categories": []}'),
            ),
        ),
        ("no class names", "DATASETS.FOLDER HOME/data classes.txt classes.json", remove("classes.json")),
        ("two files of class names", "HOME/data classes.txt classes.json", written("data/classes.txt", "a\nb\nc\n")),
        ("empty classes.txt", TXT, classes("")),
        ("empty line in classes.txt", f"{TXT} line 2", classes("grass\n\nsky\n")),
        ("duplicate class name", f"{TXT} 'grass' 0 2", classes("grass\nroad\ngrass\n")),
        ("control character in a class name", rf"{TXT} \x1b", classes("grass\n\x1b[2Jroad\nsky\n")),
        (
            "duplicate class name in classes.json",
            f"{JSON} 'grass' 0 2",
            written("data/classes.json", '[{"name": "grass"}, {"name": "road"}, {"name": "grass"}]'),
        ),
        ("classes.json is not JSON", f"{JSON} name color", written("data/classes.json", "grass, road, sky")),
        ("classes.json holds no list", f"{JSON} name color", written("data/classes.json", "{}")),
        ("no training images", "folder_train HOME/data/images/train DATASETS.FOLDER", remove("images/train")),
        (
            "empty dataset",
            "folder_train HOME/data/images/train .jpg",
            both(empty("images/train"), empty("annotations/train")),
        ),
        ("no label map", "folder_val HOME/data/annotations/val .png", empty("annotations/val")),
        ("image without labels", "folder_train HOME/data/images/train b", remove(LABELS)),
        ("labels without an image", "folder_train HOME/data/annotations/train b", remove(IMAGE)),
        (
            "two images with one stem",
            "folder_train b.jpg b.png",
            lambda world: shutil.copy(world.data / IMAGE, world.data / "images/train/b.png"),
        ),
    ]
]

NAMES = [
    Case("missing folder", "DATASETS.FOLDER HOME/nowhere", ("DATASETS.FOLDER", "HOME/nowhere")),
    Case("empty DATASETS.FOLDER", "DATASETS.FOLDER", ("DATASETS.FOLDER", "")),
    Case("unknown dataset", "'camvid_sem_seg_vall' camvid_sem_seg_val", ("DATASETS.TEST", "('camvid_sem_seg_vall',)")),
    Case("unknown split", "DATASETS.TEST folder_test folder_val", ("DATASETS.TEST", "('folder_test',)")),
    Case("nothing to train on", "DATASETS.TRAIN folder_train", ("DATASETS.TRAIN", "()")),
    Case("nothing to evaluate on", "DATASETS.TEST folder_test", (*EVALUATION, "DATASETS.TEST", "()"), checkpoint()),
    Case(
        "another number of classes than the folder's",
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES 7 3 HOME/data",
        ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "7"),
    ),
    Case(
        "ignore value is a class id",
        "1 'road' MODEL.SEM_SEG_HEAD.IGNORE_VALUE",
        ("MODEL.SEM_SEG_HEAD.IGNORE_VALUE", "1"),
    ),
]

# Pairs that cannot be read: (name, file, what else the message mentions, step). Each is read once, without a training.
UNREADABLE = [
    ("dangling link", IMAGE, "", link(IMAGE, "/nowhere/b.jpg")),
    ("empty image", IMAGE, "0", cut(IMAGE, 0)),
    ("half an image", IMAGE, "damaged", cut(IMAGE)),
    ("text in place of an image", IMAGE, "Pillow", written(f"data/{IMAGE}", "hello")),
    ("image of floats", "images/train/a.tif", "8", saved("images/train/a.tif", np.full((24, 32), 0.5, np.float32))),
    (
        "image of 32 bits",
        "images/train/a.tif",
        "INPUT.MAX_LEVEL",
        saved("images/train/a.tif", np.full((24, 32), 70000, np.int32)),
    ),
    ("empty label map", LABELS, "0", cut(LABELS, 0)),
    ("half a label map", LABELS, "damaged", cut(LABELS)),
    ("labels in colors", LABELS, "3 check_dataset.py", changed(LABELS, lambda image: image.convert("RGB"))),
    ("labels with alpha", LABELS, "2 check_dataset.py", changed(LABELS, lambda image: image.convert("LA"))),
    ("labels as floats", LABELS, "PNG", saved(LABELS, np.zeros((24, 32), np.float32), format="TIFF")),
    (
        "id beyond the classes",
        LABELS,
        "ids 3 are 255 MODEL.SEM_SEG_HEAD.NUM_CLASSES",
        with_ids(LABELS, lambda ids: np.where(ids == 2, 3, ids).astype(np.uint8)),
    ),
    ("ids of 16 bits", LABELS, "300 555", with_ids(LABELS, lambda ids: ids.astype(np.uint16) + 300)),
    ("labels smaller than the image", LABELS, f"HOME/data/{IMAGE} 16 12", changed(LABELS, halved)),
    ("image turned by EXIF", LABELS, f"HOME/data/{IMAGE} EXIF", turn_by_exif),
]

RUNS = [
    Case("damaged image in training", f"HOME/data/{IMAGE} damaged", given=cut(IMAGE), leaves=TRAINING),
    Case(
        "damaged image in a worker process",
        f"HOME/data/{IMAGE} damaged",
        ("DATALOADER.NUM_WORKERS", "1"),
        cut(IMAGE),
        leaves=TRAINING,
    ),
    *(
        Case(f"evaluation: {name}", mentions, EVALUATION, both(checkpoint(), given), leaves=EVALUATED)
        for name, mentions, given in [
            ("damaged image", f"HOME/data/{VAL_IMAGE} damaged", cut(VAL_IMAGE)),
            ("damaged label map", f"HOME/data/{VAL_LABELS} damaged", cut(VAL_LABELS)),
            (
                "id beyond the classes",
                f"HOME/data/{VAL_LABELS} ids 9 are 255",
                with_ids(VAL_LABELS, lambda ids: np.full_like(ids, 9)),
            ),
            ("labels smaller than the image", f"HOME/data/{VAL_LABELS} 24 12", changed(VAL_LABELS, halved)),
        ]
    ),
]

DATA_CASES = [*FOLDERS, *NAMES, *RUNS]
