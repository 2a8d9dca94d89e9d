"""`build_segvit`: the whole network, with its sizes, from its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from segvit.errors import renamed_arguments
from segvit.modeling.decoder.decoder_builder import build_decoder, check_stages, detail_config
from segvit.modeling.decoder.detail import finest_pixel_stage
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.encoder.vit_encoder import PlainViTEncoder
from segvit.modeling.losses.encoder_loss import TENSOR as TRAINING_TENSOR
from segvit.modeling.postprocessing.semantic_inference import SemanticInference
from segvit.modeling.segvit import DecoderHead, SegViT
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig

# Of RGB channels from 0 to 255.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# Names of the encoder and the head in a checkpoint of the Detectron2 model, and their names in `SegViT`.
CHECKPOINT_PREFIXES = {"backbone.encoder.": "encoder.", "sem_seg_head.": "head."}
# The arguments of decoder, `DetailConfig` and inference, and where `build_segvit` takes them from.
DECODER_ARGUMENTS = {
    "num_heads": "decoder_heads",
    "in_dims": "out_indices",
    "in_features": "out_indices",
    "source": "detail",
    "dim": "detail_dim",
    "stride": "detail_stride",
    "mode": "output",
}


def build_segvit(
    *,
    num_classes: int,
    encoder_name: str = "vit_base_patch16_384",
    img_size: tuple[int, int] = (512, 512),
    out_indices: Sequence[int] = (5, 7, 11),
    reduction: ReductionConfig | None = None,
    query_upsampling: str = "none",
    decoder_dim: int = 384,
    decoder_layers: int = 3,
    decoder_heads: int = 12,
    detail: str = "none",
    detail_dim: int = 64,
    detail_stride: int = 4,
    output: str = "mix",
    pixel_mean: Sequence[float] = IMAGENET_MEAN,
    pixel_std: Sequence[float] = IMAGENET_STD,
    **encoder_options: Any,
) -> SegViT:
    """Build SegViT without Detectron2; the defaults are the paper's ViT-B model.

    Raises UserError for an unknown encoder or option, and for stages that do not fit each other.

    Args:
        num_classes: K.
        encoder_name, img_size: a plain ViT of timm, without its tag, and the (H, W) that its positions are made for.
        out_indices: 0-based blocks whose outputs the decoder reads.
        reduction, query_upsampling: tokens that the encoder drops and how the decoder restores them, for Shrunk(++).
        decoder_dim, decoder_layers, decoder_heads: width of the decoder, layers per stage, attention heads.
        detail, detail_dim, detail_stride: source, width and stride of finer masks, see `DetailConfig`; "none" for none.
        output: "mix", "diagonal" or "softmax", see `SemanticInference`.
        pixel_mean, pixel_std: of each channel, in the range of the images; ImageNet's in RGB by default.
        **encoder_options: of `build_vit_encoder`, such as pretrained, in_chans, patch_size or depth.
    """
    with renamed_arguments(name="encoder_name", pixel_stage="detail"):
        encoder = build_vit_encoder(
            name=encoder_name,
            img_size=img_size,
            out_indices=list(out_indices),
            reduction=reduction,
            pixel_stage=finest_pixel_stage(detail, detail_stride),
            **encoder_options,
        )
    with renamed_arguments(**DECODER_ARGUMENTS):
        head = build_head(
            encoder,
            num_classes=num_classes,
            query_upsampling=query_upsampling,
            dim=decoder_dim,
            num_layers=decoder_layers,
            num_heads=decoder_heads,
            detail=detail,
            detail_dim=detail_dim,
            detail_stride=detail_stride,
        )
        inference = SemanticInference(output)
    patch = encoder.embedding.patch_size[0]
    return SegViT(
        encoder=encoder, head=head, inference=inference, patch_size=patch, pixel_mean=pixel_mean, pixel_std=pixel_std
    )


def build_head(
    encoder: PlainViTEncoder,
    *,
    num_classes: int,
    query_upsampling: str,
    dim: int,
    num_layers: int,
    num_heads: int,
    detail: str,
    detail_dim: int,
    detail_stride: int,
) -> DecoderHead:
    """Build the decoder of all stages of an encoder; arguments as those of `build_segvit`."""
    in_features = [f"block{index}" for index in sorted(encoder.out_indices, reverse=True)]  # deepest first
    shapes = encoder.stage_shapes()
    check_stages(in_features, shapes, query_upsampling=query_upsampling)
    shallowest = shapes[in_features[-1]]
    return DecoderHead(
        in_features=in_features,
        decoder=build_decoder(
            num_classes=num_classes,
            in_dims=[shapes[name].channels for name in in_features],
            grid_size=(shallowest.height or 0, shallowest.width or 0),
            query_upsampling=query_upsampling,
            upsampling_layers=3,
            hidden_dim=dim,
            num_layers=num_layers,
            num_heads=num_heads,
            dropout=0.1,
            detail=detail_config(in_features, shapes, source=detail, dim=detail_dim, stride=detail_stride),
        ),
        pixel_stages=list(encoder.embedding.pixel_shapes),
    )


def weights_from_detectron2(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint of the Detectron2 model under the names of `SegViT`, for `load_state_dict`.

    Those of an `EncoderLoss`, which training alone reads, are left out.
    """
    weights = {}
    for name, tensor in state_dict.items():
        if TRAINING_TENSOR.search(name):
            continue
        prefix = next((prefix for prefix in CHECKPOINT_PREFIXES if name.startswith(prefix)), "")
        weights[CHECKPOINT_PREFIXES.get(prefix, "") + name[len(prefix) :]] = tensor
    return weights
