"""What the classes of a config are called, and in which colours they are drawn.

Shape shorthand: K classes.
"""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

import segvit.data  # noqa: F401  (registers the data sets)
from segvit.datasets import ClassList
from segvit.datasets.palette import distinct_colors


def class_list_of(cfg: CfgNode) -> ClassList:
    """The K names and colours of the config's data set, those to be tested on first.

    Where none of its data sets is known here (a folder that stayed on another machine), or they have another number of
    classes, the names are "class 0", "class 1" and so on.
    """
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        if name not in DatasetCatalog:
            continue
        metadata = MetadataCatalog.get(name)
        names, colors = metadata.get("stuff_classes", ()), metadata.get("stuff_colors", ())
        if len(names) == num_classes:
            given = len(colors) == num_classes
            palette = [tuple(color) for color in colors] if given else distinct_colors(num_classes, start=1)
            return ClassList(names=tuple(names), colors=tuple(palette), colors_given=given)
    names = tuple(f"class {index}" for index in range(num_classes))
    return ClassList(names=names, colors=tuple(distinct_colors(num_classes, start=1)), colors_given=False)
