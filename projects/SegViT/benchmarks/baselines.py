"""The models that a benchmark sets beside a config's own, by name.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image
from torch import nn

from label_endings import ArgmaxOfScores, MadeScene, PrunedLabels, WinnersOfScores
from peers import PEERS, build_peer
from segmenter_head import SegmenterHead
from segvit.analysis.from_config import build_random_model
from segvit.analysis.pipeline import BilinearUpsampling, DensePredictor
from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.data.image_reading import open_upright
from segvit.errors import UserError
from segvit.modeling.decoder.linear_head import LinearHead
from segvit.modeling.postprocessing.semantic_inference import SemanticInference

OUTPUTS = ("diagonal", "mix")
BANDED = "linear-bands"
VARIANTS = ("linear", BANDED, "segmenter", *OUTPUTS)


@dataclass(frozen=True)
class Ending:
    """What the models of one benchmark end in.

    Attributes:
        labels: labels and not scores.
        size: of the labels; None for that of the input.
        num_present: classes that the heads are made to see (`MadeScene`); 0 leaves them as they are.
    """

    labels: bool = False
    size: tuple[int, int] | None = None
    num_present: int = 0

    def predictor(
        self, backbone: nn.Module, head: nn.Module, inference: nn.Module, *, banded: bool = False
    ) -> DensePredictor:
        """The three as one model in eval mode, with this ending.

        Args:
            banded: whether labels are found as SegViT finds them where it cannot prune, also for another head.

        Raises:
            UserError: for a scene that the output cannot show.
        """
        own = isinstance(inference, SemanticInference)
        if own and self.num_present:
            if inference.mode != "diagonal":
                raise UserError(
                    f"--present makes a scene for the output 'diagonal', not for {inference.mode!r}: "
                    "set MODEL.SEGVIT.OUTPUT diagonal, and leave other outputs out"
                )
            head = MadeScene(head, self.num_present)
        if self.labels:
            if own and inference.mode == "diagonal":
                inference = PrunedLabels(self.size)
            else:
                inference = (WinnersOfScores if own or banded else ArgmaxOfScores)(inference, self.size)
        return DensePredictor(backbone=backbone, sem_seg_head=head, inference=inference).eval()


def build_loaded_model(cfg: CfgNode) -> nn.Module:
    """The config's model; its weights are random unless MODEL.WEIGHTS names some."""
    model = build_random_model(cfg)
    if cfg.MODEL.WEIGHTS:
        SegViTCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


def build_whole(cfg: CfgNode, ending: Ending = Ending()) -> DensePredictor:
    """The same with an ending."""
    return _with_ending(build_loaded_model(cfg), ending)


def _with_ending(model: nn.Module, ending: Ending) -> DensePredictor:
    return ending.predictor(model.backbone, model.sem_seg_head, model.semantic_inference)


def build_contenders(
    cfg: CfgNode, names: Sequence[str], size: tuple[int, int], ending: Ending = Ending()
) -> dict[str, nn.Module]:
    """The config's model, named by its output, and the wanted others: the floor first, peers last.

    Variants share one encoder.

    Raises:
        UserError: for a peer that is not installed, or of which labels are asked, and for bands of scores.
    """
    model = build_loaded_model(cfg)
    whole = _with_ending(model, ending)
    heads = {"linear": build_linear, BANDED: build_linear, "segmenter": build_segmenter}
    if BANDED in names and not ending.labels:
        raise UserError(f"{BANDED!r} is another way to labels: add --labels, or leave it out")
    built = {
        name: ending.predictor(whole.backbone, build(cfg, whole.backbone), BilinearUpsampling(), banded=name == BANDED)
        for name, build in heads.items()
        if name in names
    }
    own = model.semantic_inference.mode
    floor = {name: built.pop(name) for name in ("linear",) if name in built}
    head = whole.sem_seg_head.head if isinstance(whole.sem_seg_head, MadeScene) else whole.sem_seg_head
    outputs = {
        name: ending.predictor(whole.backbone, head, SemanticInference(name))
        for name in OUTPUTS
        if name in names and name != own
    }
    peers = [name for name in names if name in PEERS]
    if peers and ending.labels:
        raise UserError(f"{peers[0]!r} is compared by its scores: leave out --labels")
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    others = {name: build_peer(name, num_classes=num_classes, image_size=max(size)) for name in peers}
    return {**floor, own: whole, **outputs, **built, **others}


def build_linear(cfg: CfgNode, backbone: nn.Module) -> LinearHead:
    """A linear head on the deepest stage: the least that a segmentation head can do."""
    stage = cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES[0]
    return LinearHead(
        in_feature=stage,
        embed_dim=backbone.output_shape()[stage].channels,
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
    )


def build_segmenter(cfg: CfgNode, backbone: nn.Module) -> SegmenterHead:
    """Segmenter's head on the deepest stage, with heads of 64 channels."""
    stage = cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES[0]
    channels = backbone.output_shape()[stage].channels
    return SegmenterHead(
        in_feature=stage,
        embed_dim=channels,
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        num_heads=max(1, channels // 64),
    )


def input_images(cfg: CfgNode, size: tuple[int, int], *, batch: int, picture: str | None) -> torch.Tensor:
    """(B, 3, H, W): noise, or copies of a picture, resized and normalised."""
    if picture is None:
        return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
    pixels = np.array(open_upright(picture).convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR))
    channels = torch.from_numpy(pixels).permute(2, 0, 1).float()
    channels = channels.flip(0) if cfg.INPUT.FORMAT == "BGR" else channels
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    return ((channels - mean) / std).expand(batch, -1, -1, -1).contiguous()


class InferenceCall:
    """One call of a contender, built where it is needed, such as in a process whose memory is measured.

    Args:
        name: as `build_contenders` names it.
        images: (B, 3, H, W).
    """

    def __init__(
        self, cfg: CfgNode, name: str, images: torch.Tensor, ending: Ending, dtype: torch.dtype = torch.float32
    ) -> None:
        size = (images.shape[-2], images.shape[-1])
        self.model = build_contenders(cfg, [name], size, ending)[name].to(dtype)
        self.images = images.to(dtype)

    @torch.inference_mode()
    def __call__(self) -> torch.Tensor:
        return self.model(self.images)
