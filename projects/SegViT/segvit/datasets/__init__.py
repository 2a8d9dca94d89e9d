"""SegViT's datasets, registered with Detectron2 on import; files are read by `DatasetCatalog.get`, not before."""

from segvit.classes.class_list import ClassList, read_class_list
from segvit.datasets.benchmarks.camvid import register_camvid
from segvit.datasets.benchmarks.cityscapes import add_cityscapes_colors
from segvit.datasets.benchmarks.coco_stuff_10k import register_coco_stuff_10k
from segvit.datasets.benchmarks.pascal_context import register_pascal_context
from segvit.datasets.benchmarks.pascal_voc import register_pascal_voc
from segvit.datasets.benchmarks.toy_scenes import register_toy_scenes
from segvit.datasets.folder import register_config_folder, register_folder
from segvit.datasets.hugging_face import register_hugging_face
from segvit.datasets.pairs import load_sem_seg_pairs
from segvit.datasets.registration import register_sem_seg_split, require_datasets

register_camvid()
register_coco_stuff_10k()
register_pascal_context()
register_pascal_voc()
register_toy_scenes()
add_cityscapes_colors()

__all__ = [
    "ClassList",
    "load_sem_seg_pairs",
    "read_class_list",
    "register_camvid",
    "register_coco_stuff_10k",
    "register_config_folder",
    "register_folder",
    "register_hugging_face",
    "register_pascal_context",
    "register_pascal_voc",
    "register_sem_seg_split",
    "register_toy_scenes",
    "require_datasets",
]
