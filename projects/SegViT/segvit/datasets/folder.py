"""A user's own folder as a data set, by config alone: DATASETS.FOLDER.

    FOLDER/images/{train,val}/*        any image extension
    FOLDER/annotations/{train,val}/*.png
    FOLDER/classes.txt or classes.json

Its splits are registered as `folder_train`, `folder_val` and, for any other folder in images/, `folder_<its name>`.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from segvit.datasets.class_list import ClassList, read_class_list
from segvit.datasets.registration import register_sem_seg_split
from segvit.errors import UserError

PREFIX = "folder_"

logger = logging.getLogger(__name__)


def register_config_folder(cfg: CfgNode, *, model_names_classes: bool = False) -> None:
    """Register the folder that a config names, and fill in what follows from it, in place.

    MODEL.SEM_SEG_HEAD.NUM_CLASSES 0 becomes the number of classes, unless the model has classes of its own, and
    DATASETS.FOLDER an absolute path. Without a folder nothing is done.

    Raises:
        UserError: where folder and config contradict each other, or one of them lacks what the other needs.
    """
    folder, head = cfg.DATASETS.FOLDER, cfg.MODEL.SEM_SEG_HEAD
    if not folder:
        if head.NUM_CLASSES == 0 and not model_names_classes:
            raise UserError("this config needs a folder of images: end the command with DATASETS.FOLDER /path/to/it")
        return
    folder = Path(folder).expanduser().resolve()
    try:
        classes = register_folder(folder, ignore_label=head.IGNORE_VALUE)
    except FileNotFoundError as error:
        raise UserError(f"DATASETS.FOLDER: {error}") from error
    _check_names((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    cfg.DATASETS.FOLDER = str(folder)
    if model_names_classes:
        return
    if head.NUM_CLASSES not in (0, len(classes.names)):
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {head.NUM_CLASSES}, but {folder} names {len(classes.names)} classes; "
            "0 takes the number from there"
        )
    head.NUM_CLASSES = len(classes.names)


def register_folder(folder: str | os.PathLike[str], *, ignore_label: int = 255) -> ClassList:
    """Register the splits of a folder, in place of those of another one, and return its classes.

    Images and label maps are listed at `DatasetCatalog.get`. Raises FileNotFoundError without the folder or its classes
    file, ValueError where that is malformed or the ignore label is a class id.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    classes = read_class_list(folder)
    require_free_ignore_value(classes, ignore_label)
    _forget_others(folder)
    for split in split_names(folder):
        register_sem_seg_split(
            PREFIX + split,
            folder=folder,
            split=split,
            stuff_classes=classes.names,
            stuff_colors=classes.colors,
            ignore_label=ignore_label,
        )
    return classes


def require_free_ignore_value(classes: ClassList, ignore_value: int) -> None:
    """Raise UserError where the ignore value is the id of a class."""
    if 0 <= ignore_value < len(classes.names):
        raise UserError(
            f"the ignore value {ignore_value} is also the id of class {classes.names[ignore_value]!r}; give pixels "
            "that do not count a number that no class has, and set MODEL.SEM_SEG_HEAD.IGNORE_VALUE (check_dataset.py: "
            "--ignore-value) to it"
        )


def split_names(folder: Path) -> list[str]:
    """train and val, whether or not they are there, and what other folders images/ has."""
    images = folder / "images"
    found = [path.name for path in images.iterdir() if path.is_dir()] if images.is_dir() else []
    return ["train", "val", *sorted(set(found) - {"train", "val"})]


def _forget_others(folder: Path) -> None:
    """The classes file may have changed since, so that the same folder is registered anew, too."""
    for name in DatasetCatalog.list():
        if name.startswith(PREFIX):
            before = Path(MetadataCatalog.get(name).get("image_folder", ""))
            if folder not in before.parents:
                logger.warning("data set %s was %s and is now another one, of %s", name, before, folder)
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def _check_names(used: tuple[str, ...]) -> None:
    known = [name for name in DatasetCatalog.list() if name.startswith(PREFIX)]
    own = [name for name in used if name.startswith(PREFIX)]
    if not own:
        raise UserError(
            f"DATASETS.FOLDER is set, but DATASETS.TRAIN and DATASETS.TEST are {used} and name none of its data sets "
            f"{known}; take a config of configs/custom, or add DATASETS.TRAIN \"('folder_train',)\" "
            "DATASETS.TEST \"('folder_val',)\" MODEL.SEM_SEG_HEAD.NUM_CLASSES 0"
        )
    unknown = sorted(set(own) - set(known))
    if unknown:
        raise UserError(f"DATASETS.TRAIN or DATASETS.TEST names {unknown}, but the data sets of the folder are {known}")
