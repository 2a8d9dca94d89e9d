"""`class_list_of`: class names and drawing colours of a config's dataset.

Shape shorthand: K classes.
"""

from __future__ import annotations

from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from yacs.config import CfgNode

from segvit.classes.class_list import MODEL_CLASSES, ClassList, read_model_classes


def class_list_of(cfg: CfgNode) -> ClassList:
    """K names and colours, from the first dataset of DATASETS.TEST and then DATASETS.TRAIN that has K classes.

    Where MODEL.WEIGHTS is that of a model folder of K classes, they are the folder's.

    The names are "class 0", "class 1" and so on if none of these datasets is registered on this machine (such as a
    folder that exists elsewhere) or none has K classes.
    """
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    own = Path(cfg.MODEL.WEIGHTS).with_name(MODEL_CLASSES) if cfg.MODEL.WEIGHTS.endswith(".safetensors") else None
    of_folder = [read_model_classes(own)] if own is not None and own.is_file() else []
    known = (*of_folder, *dataset_class_lists(cfg))
    return next((classes for classes in known if len(classes.names) == num_classes), ClassList.numbered(num_classes))


def dataset_class_lists(cfg: CfgNode) -> list[ClassList]:
    """Names and colours of each registered dataset of DATASETS.TEST and then DATASETS.TRAIN that has names."""
    found = []
    for dataset in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        metadata = MetadataCatalog.get(dataset) if dataset in DatasetCatalog else None
        names = metadata.get("stuff_classes", ()) if metadata is not None else ()
        colors = metadata.get("stuff_colors", ()) if metadata is not None else ()
        if names and len(colors) == len(names):
            found.append(ClassList(tuple(names), tuple(tuple(color) for color in colors), colors_given=True))
        elif names:
            found.append(ClassList.with_default_colors(names))
    return found
