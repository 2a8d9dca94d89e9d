"""Everything of the model that touches Detectron2. Importing this registers SegViT's modules with it."""

from segvit.config.defaults import add_segvit_config, get_segvit_cfg
from segvit.config.loading import load_config
from segvit.d2.backbone import PlainViT
from segvit.d2.continual_head import ContinualHead
from segvit.d2.hierarchical_backbone import HierarchicalViT
from segvit.d2.meta_arch import SegViT
from segvit.d2.multi_scale import SemanticSegmentorWithTTA
from segvit.d2.per_pixel_head import PerPixelHead
from segvit.d2.sem_seg_head import AttentionToMaskHead

__all__ = [
    "AttentionToMaskHead",
    "ContinualHead",
    "HierarchicalViT",
    "PerPixelHead",
    "PlainViT",
    "SegViT",
    "SemanticSegmentorWithTTA",
    "add_segvit_config",
    "get_segvit_cfg",
    "load_config",
]
