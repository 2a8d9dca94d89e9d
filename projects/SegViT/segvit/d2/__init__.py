"""SegViT for Detectron2: importing this registers the classes of `assembly/` with it. Also the solver and TTA."""

from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY, Backbone

from segvit.assembly.backbone import PlainViT
from segvit.assembly.components import BACKBONES, HEADS
from segvit.assembly.heads.continual_head import ContinualHead
from segvit.assembly.heads.per_pixel_head import PerPixelHead
from segvit.assembly.heads.sem_seg_head import AttentionToMaskHead
from segvit.assembly.hierarchical_backbone import HierarchicalViT
from segvit.assembly.meta_arch import SegViT
from segvit.config.defaults import add_segvit_config, get_segvit_cfg
from segvit.config.loading import load_config
from segvit.d2.multi_scale import SemanticSegmentorWithTTA

META_ARCH_REGISTRY.register(SegViT)
for backbone in BACKBONES.values():
    BACKBONE_REGISTRY.register(backbone)
    Backbone.register(backbone)  # `isinstance` holds, as Detectron2's `build_backbone` asks for
for head in HEADS.values():
    SEM_SEG_HEADS_REGISTRY.register(head)

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
