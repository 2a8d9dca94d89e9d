"""DATASETS.FOLDER: register the splits of a user's own folder as datasets.

    FOLDER/images/{train,val}/*        any image extension
    FOLDER/annotations/{train,val}/*.png
    FOLDER/classes.txt or classes.json

The splits are registered as `folder_train`, `folder_val`, and `folder_<name>` for every other folder in images/.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from segvit.classes.class_list import ClassList, read_class_list
from segvit.datasets.annotation_formats import import_hint
from segvit.datasets.registration import FOLDER_PREFIX, register_sem_seg_split
from segvit.errors import END_OF_COMMAND, UserError

logger = logging.getLogger(__name__)


def register_config_folder(cfg: CfgNode, *, model_names_classes: bool = False) -> None:
    """Register DATASETS.FOLDER, if set, and complete the config in place.

    DATASETS.FOLDER becomes an absolute path, and MODEL.SEM_SEG_HEAD.NUM_CLASSES, if 0, the folder's number of classes.

    Args:
        cfg: the config.
        model_names_classes: the model has its own class names, and NUM_CLASSES stays as it is.

    Raises:
        UserError: the folder is missing or incomplete, or contradicts the config.
    """
    folder = cfg.DATASETS.FOLDER
    head = cfg.MODEL.SEM_SEG_HEAD
    if not folder:
        if head.NUM_CLASSES == 0 and not model_names_classes:
            raise UserError(f"this config needs a folder of images: {END_OF_COMMAND}DATASETS.FOLDER /path/to/it")
        return
    folder = Path(folder).expanduser().resolve()
    try:
        classes = register_folder(folder, ignore_label=head.IGNORE_VALUE)
    except FileNotFoundError as error:
        is_trained = bool(head.NUM_CLASSES or model_names_classes)  # the config of a run, which prediction reads, too
        hint = f'; to predict without the dataset, {END_OF_COMMAND}DATASETS.FOLDER ""' if is_trained else ""
        raise UserError(f"DATASETS.FOLDER: {error}{import_hint(folder)}{hint}") from error
    require_layout(folder, origin="DATASETS.FOLDER")
    _check_names((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    cfg.DATASETS.FOLDER = str(folder)
    if model_names_classes:
        return
    if head.NUM_CLASSES not in (0, len(classes.names)):
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {head.NUM_CLASSES}, but {folder} has {len(classes.names)} classes; "
            "0 means the number of classes of the folder"
        )
    head.NUM_CLASSES = len(classes.names)


def register_folder(folder: str | os.PathLike[str], *, ignore_label: int = 255) -> ClassList:
    """Register the splits of a folder, replacing those of any other folder, and return its classes.

    Images and label maps are listed by `DatasetCatalog.get`.

    Raises:
        FileNotFoundError: the folder or its classes file does not exist.
        UserError: the classes file is malformed, or the ignore label is a class id.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist")
    classes = read_class_list(folder)
    require_free_ignore_value(classes, ignore_label)
    _unregister_folders(folder)
    for split in split_names(folder):
        register_sem_seg_split(
            FOLDER_PREFIX + split,
            folder=folder,
            split=split,
            stuff_classes=classes.names,
            stuff_colors=classes.colors,
            ignore_label=ignore_label,
        )
    return classes


def require_layout(folder: Path, *, origin: str) -> None:
    """Raise UserError, with the command to run, for the export of an annotation tool that has a list of classes.

    A folder with nothing but the list, by which a model predicts, is as good as a whole one.
    """
    has_split = any((folder / "images" / split).is_dir() for split in split_names(folder))
    hint = "" if has_split else import_hint(folder)
    if hint:
        raise UserError(f"{origin} {folder} has no images/train and annotations/train{hint}")


def require_free_ignore_value(classes: ClassList, ignore_value: int) -> None:
    """Raise UserError if the ignore value is the id of a class."""
    if 0 <= ignore_value < len(classes.names):
        raise UserError(
            f"the ignore value {ignore_value} is also the id of class {classes.names[ignore_value]!r}; give ignored "
            "pixels an id that no class has, and set MODEL.SEM_SEG_HEAD.IGNORE_VALUE (check_dataset.py: "
            "--ignore-value) to it"
        )


def split_names(folder: Path) -> list[str]:
    """train and val, whether or not they exist, and all other folders in images/."""
    images = folder / "images"
    folders = {path.name for path in images.iterdir() if path.is_dir()} if images.is_dir() else set()
    return ["train", "val", *sorted(folders - {"train", "val"})]


def _unregister_folders(folder: Path) -> None:
    """Remove the splits of the folder registered before; even of the same one, since its classes may have changed."""
    for name in DatasetCatalog.list():
        if name.startswith(FOLDER_PREFIX):
            previous = Path(MetadataCatalog.get(name).get("image_folder", ""))
            if folder not in previous.parents:
                logger.warning("dataset %s was %s and is now replaced by that of %s", name, previous, folder)
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def _check_names(used: tuple[str, ...]) -> None:
    known = [name for name in DatasetCatalog.list() if name.startswith(FOLDER_PREFIX)]
    folder_names = [name for name in used if name.startswith(FOLDER_PREFIX)]
    if not folder_names:
        raise UserError(
            f"DATASETS.FOLDER is set, but DATASETS.TRAIN and DATASETS.TEST are {used} and name none of its datasets "
            f"{known}; use a config of configs/custom, or add DATASETS.TRAIN \"('folder_train',)\" "
            "DATASETS.TEST \"('folder_val',)\" MODEL.SEM_SEG_HEAD.NUM_CLASSES 0"
        )
    unknown = sorted(set(folder_names) - set(known))
    if unknown:
        raise UserError(f"DATASETS.TRAIN or DATASETS.TEST names {unknown}, but the datasets of the folder are {known}")
