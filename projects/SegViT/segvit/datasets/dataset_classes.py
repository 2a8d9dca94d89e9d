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

    Where MODEL.WEIGHTS is that of a model folder, they are the folder's.

    The names are "class 0", "class 1" and so on if none of these datasets is registered on this machine (such as a
    folder that exists elsewhere) or none has K classes.
    """
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    own = Path(cfg.MODEL.WEIGHTS).with_name(MODEL_CLASSES) if cfg.MODEL.WEIGHTS.endswith(".safetensors") else None
    if own is not None and own.is_file():
        return read_model_classes(own)
    for dataset in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        if dataset not in DatasetCatalog:
            continue
        metadata = MetadataCatalog.get(dataset)
        names = metadata.get("stuff_classes", ())
        colors = metadata.get("stuff_colors", ())
        if len(names) == num_classes == len(colors):
            return ClassList(names=tuple(names), colors=tuple(tuple(color) for color in colors), colors_given=True)
        if len(names) == num_classes:
            return ClassList.with_default_colors(names)
    return ClassList.numbered(num_classes)
