"""Published segmentation models of ViT-B's or Swin-B's size from `transformers`, with random weights, to time.

Shape shorthand: B images, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from segvit.errors import UserError

PEERS = ("eomt", "upernet-beit", "dpt", "segformer-b4", "maskformer", "mask2former")


class Peer(nn.Module):
    """A model of `transformers` that maps normalized images to scores at their size.

    Models with class and mask queries sum the queries' votes at the masks' resolution and upsample the sum, which is
    cheaper than the other order.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, K, H, W)."""
        outputs = self.model(pixel_values=images)
        if "logits" in outputs:
            scores = outputs.logits
        else:
            probabilities = outputs.class_queries_logits.softmax(dim=-1)[..., :-1]
            scores = torch.einsum("bqc,bqhw->bchw", probabilities, outputs.masks_queries_logits.sigmoid())
        return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)


def build_peer(name: str, *, num_classes: int, image_size: int) -> Peer:
    """A peer in eval mode.

    Args:
        name: one of `PEERS`.
        num_classes: K.
        image_size: height and width of square images.

    Raises:
        UserError: if `transformers` is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise UserError(f"{name!r} needs transformers: pip install -e '.[bench]'") from error
    return Peer(_BUILDERS[name](transformers, num_classes, image_size)).eval()


def _eomt(transformers: Any, num_classes: int, image_size: int) -> nn.Module:
    config = transformers.EomtConfig(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=image_size,
        num_blocks=3,
        num_queries=100,
        num_labels=num_classes,
    )
    model = transformers.EomtForUniversalSegmentation(config)
    # As after training, which anneals masked attention away; on the CPU, where no block waits for a GPU to read it.
    model.attn_mask_probs = torch.zeros_like(model.attn_mask_probs, device="cpu")
    return model


def _upernet_beit(transformers: Any, num_classes: int, image_size: int) -> nn.Module:
    config = transformers.BeitConfig(
        image_size=image_size,
        out_indices=[3, 5, 7, 11],
        use_relative_position_bias=True,
        use_auxiliary_head=False,
        num_labels=num_classes,
    )
    return transformers.BeitForSemanticSegmentation(config)


def _dpt(transformers: Any, num_classes: int, image_size: int) -> nn.Module:
    config = transformers.DPTConfig(image_size=image_size, use_auxiliary_head=False, num_labels=num_classes)
    return transformers.DPTForSemanticSegmentation(config)


def _segformer(transformers: Any, num_classes: int, image_size: int) -> nn.Module:
    config = transformers.SegformerConfig(
        depths=[3, 8, 27, 3], hidden_sizes=[64, 128, 320, 512], decoder_hidden_size=768, num_labels=num_classes
    )
    return transformers.SegformerForSemanticSegmentation(config)


def _swin_base(transformers: Any, image_size: int) -> Any:
    return transformers.SwinConfig(
        image_size=image_size,
        embed_dim=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=12,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


def _maskformer(transformers: Any, num_classes: int, image_size: int) -> nn.Module:
    config = transformers.MaskFormerConfig(
        backbone_config=_swin_base(transformers, image_size), num_labels=num_classes, use_auxiliary_loss=False
    )
    return transformers.MaskFormerForInstanceSegmentation(config)


def _mask2former(transformers: Any, num_classes: int, image_size: int) -> nn.Module:
    config = transformers.Mask2FormerConfig(
        backbone_config=_swin_base(transformers, image_size), num_labels=num_classes
    )
    return transformers.Mask2FormerForUniversalSegmentation(config)


_BUILDERS: dict[str, Callable[[Any, int, int], nn.Module]] = {
    "eomt": _eomt,
    "upernet-beit": _upernet_beit,
    "dpt": _dpt,
    "segformer-b4": _segformer,
    "maskformer": _maskformer,
    "mask2former": _mask2former,
}
