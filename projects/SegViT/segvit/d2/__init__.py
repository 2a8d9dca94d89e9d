"""Everything of the model that touches Detectron2. Importing this registers SegViT's modules with it."""

from .backbone import PlainViT
from .config import add_segvit_config, get_segvit_cfg
from .meta_arch import SegViT
from .sem_seg_head import AttentionToMaskHead

__all__ = ["AttentionToMaskHead", "PlainViT", "SegViT", "add_segvit_config", "get_segvit_cfg"]
