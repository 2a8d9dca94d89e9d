"""`class_list_of`: class names and drawing colours of a config's dataset.

Shape shorthand: K classes.
"""

from __future__ import annotations

from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from yacs.config import CfgNode

from segvit.classes.class_list import MODEL_CLASSES, ClassList, read_model_classes
from segvit.classes.palette import distinct_colors


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
    default_colors = distinct_colors(num_classes)
    for dataset in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        if dataset not in DatasetCatalog:
            continue
        metadata = MetadataCatalog.get(dataset)
        names = metadata.get("stuff_classes", ())
        colors = metadata.get("stuff_colors", ())
        if len(names) == num_classes:
            colors_given = len(colors) == num_classes
            palette = [tuple(color) for color in colors] if colors_given else default_colors
            return ClassList(names=tuple(names), colors=tuple(palette), colors_given=colors_given)
    names = tuple(f"class {index}" for index in range(num_classes))
    return ClassList(names=names, colors=tuple(default_colors), colors_given=False)
