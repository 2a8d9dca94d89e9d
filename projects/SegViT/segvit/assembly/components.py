"""The parts of a config's model: its backbone and its head, of SegViT or another Detectron2 project, and windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yacs.config import CfgNode

from segvit.assembly.backbone import PlainViT
from segvit.assembly.heads.continual_head import ContinualHead
from segvit.assembly.heads.per_pixel_head import PerPixelHead
from segvit.assembly.heads.sem_seg_head import AttentionToMaskHead
from segvit.assembly.hierarchical_backbone import HierarchicalViT
from segvit.errors import renamed_arguments
from segvit.modeling.postprocessing.sliding_window import SlidingWindow

BACKBONES: Mapping[str, type] = {own.__name__: own for own in (PlainViT, HierarchicalViT)}
HEADS: Mapping[str, type] = {own.__name__: own for own in (AttentionToMaskHead, PerPixelHead, ContinualHead)}


def build_backbone(cfg: CfgNode) -> Any:
    """The backbone MODEL.BACKBONE.NAME."""
    own = BACKBONES.get(cfg.MODEL.BACKBONE.NAME)
    if own is not None:
        return own(cfg)
    from detectron2.modeling import build_backbone

    return build_backbone(cfg)


def build_head(cfg: CfgNode, input_shape: Mapping[str, Any]) -> Any:
    """The head MODEL.SEM_SEG_HEAD.NAME, for the stages that the backbone's `output_shape` describes."""
    own = HEADS.get(cfg.MODEL.SEM_SEG_HEAD.NAME)
    if own is not None:
        return own(cfg, input_shape)
    from detectron2.modeling import build_sem_seg_head

    return build_sem_seg_head(cfg, input_shape)


def build_windows(cfg: CfgNode) -> SlidingWindow | None:
    """The sliding windows of TEST.WINDOW; None if an image is segmented as a whole."""
    window = cfg.TEST.WINDOW
    with renamed_arguments(size="TEST.WINDOW.SIZE", stride="TEST.WINDOW.STRIDE", batch_size="TEST.WINDOW.BATCH_SIZE"):
        windows = SlidingWindow(
            size=window.SIZE,
            stride=window.STRIDE,
            batch_size=window.BATCH_SIZE,
            accumulate_on_cpu=window.ACCUMULATE_ON_CPU,
        )
    return windows if window.ENABLED else None
