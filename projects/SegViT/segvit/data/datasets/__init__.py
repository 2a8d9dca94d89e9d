"""Registers SegViT's data sets with Detectron2 on import; nothing is read before `DatasetCatalog.get`."""

from segvit.data.datasets.camvid import register_camvid
from segvit.data.datasets.pairs import load_sem_seg_pairs
from segvit.data.datasets.registration import register_sem_seg_split
from segvit.data.datasets.toy_scenes import register_toy_scenes

register_camvid()
register_toy_scenes()

__all__ = ["load_sem_seg_pairs", "register_camvid", "register_sem_seg_split", "register_toy_scenes"]
