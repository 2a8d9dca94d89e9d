"""`DetailBranch`: class queries score the pixels of a fine map, which sharpens the masks of the patch grid (ours).

The papers' masks live on the grid of patches and are only interpolated from there. Here each query is projected to the
width of a fine map, and its product with every pixel of that map is added to the interpolated mask logits. The product
of queries and pixels is MaskFormer's (Cheng et al. 2021, section 3.3), whose masks are nothing else; here it corrects
the masks of Attention-to-Mask. The fine map is made from coarse to fine: the deep map is up-sampled level by level,
and each level adds a map of its own, as in U-Net (Ronneberger et al. 2015) and feature pyramids (Lin et al. 2017).

Shape shorthand: B images, I their channels, H x W pixels, h x w grid of the coarse masks, h' x w' fine grid, C width of
the deep map, D decoder width, E detail width, K classes = queries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.decoder.outputs import DecoderOutputs, MaskOutputs
from segvit.modeling.encoder.token_embedding import IMAGE_STAGE, stem_stage
from segvit.modeling.grid_tensors import is_making_graph
from segvit.modeling.training_outputs import ReturnsMoreInTraining

SOURCES = ("image", "stem", "tokens")

# Channels are normalized in this many groups. The detail width must be a multiple of twice the number.
NUM_GROUPS = 4

# Residual convolutions of each level but the finest.
COARSE_BLOCKS = 2

# The names of its tensors in a checkpoint.
TENSOR = re.compile(r"(^|\.)decoder\.detail\.")


@dataclass(frozen=True)
class DetailConfig:
    """A detail branch.

    Attributes:
        source: what the fine map is made of beside the deep map: "image", three convolutions on the image; "stem", the
            maps of the encoder's convolutional stem from this stride to half a patch; "tokens", nothing else.
        dim: E.
        stride: pixels per cell of the fine grid, 2 or 4.
        coarse_stride: pixels per cell of the coarse masks.
        pixel_dims: widths of the maps of that source, finest first.
    """

    source: str
    dim: int
    stride: int
    coarse_stride: int
    pixel_dims: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ArgumentError("source", f"{self.source!r} must be 'none', 'image', 'stem' or 'tokens'")
        if self.dim < 1 or self.dim % (2 * NUM_GROUPS):
            raise ArgumentError("dim", f"{self.dim} must be a multiple of {2 * NUM_GROUPS}")
        if self.stride not in (2, 4) or self.stride > self.coarse_stride:
            raise ArgumentError(
                "stride", f"{self.stride} must be 2 or 4, and at most {self.coarse_stride}, the stride of the masks"
            )


def finest_pixel_stage(source: str, stride: int) -> str:
    """The finest map of the encoder that a detail branch reads beside the deep map; "" for none."""
    return {"image": IMAGE_STAGE, "stem": stem_stage(stride)}.get(source, "")


class ConvNormReLU(nn.Sequential):
    """3 x 3 convolution, group normalization, ReLU; unlike batch normalization, it sees one image at a time."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(NUM_GROUPS, out_channels)
        self.relu = nn.ReLU(inplace=True)


class ImageStem(nn.Sequential):
    """Three convolutions on the image: (B, I, H, W) -> (B, E, H / stride, W / stride).

    Args:
        in_channels: I, the channels of the image.
        dim: E.
        stride: 2 or 4.
        coarse_stride: pixels per cell of the coarse masks. If `stride` does not divide it (14 and 4), the image is
            resized so that a whole number of fine cells fills a coarse cell.
    """

    def __init__(self, *, in_channels: int, dim: int, stride: int, coarse_stride: int) -> None:
        super().__init__()
        self.coarse_stride = coarse_stride
        self.resized_stride = round(coarse_stride / stride) * stride
        self.conv1 = ConvNormReLU(in_channels, dim // 2, stride=2)
        self.conv2 = ConvNormReLU(dim // 2, dim, stride=stride // 2)
        self.conv3 = ConvNormReLU(dim, dim)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.resized_stride != self.coarse_stride:
            size = [length // self.coarse_stride * self.resized_stride for length in images.shape[-2:]]
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        return super().forward(images)


class Level(nn.Module):
    """Up-sample the map of the coarser level to this one and add the pixel features of this level.

    Args:
        pixel_map: (B, ., ., .) pixels -> (B, E, ., .).
        dim: E.
        num_blocks: residual convolutions on the sum.
    """

    def __init__(self, pixel_map: nn.Module, *, dim: int, num_blocks: int) -> None:
        super().__init__()
        self.pixel_map = pixel_map
        self.blocks = nn.ModuleList(ConvNormReLU(dim, dim) for _ in range(num_blocks))

    def forward(self, coarser: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        own = self.pixel_map(pixels)
        x = _resize(coarser, own.shape[-2:]) + own
        for block in self.blocks:
            x = x + block(x)
        return x


class DetailBranch(ReturnsMoreInTraining, nn.Module):
    """Decoder outputs with masks on the patch grid to outputs with masks on a fine grid.

    The projection of the queries starts at zero, so that a model starts as the model without this branch: until it has
    learnt, evaluation returns the coarse masks as they are.

    Args:
        config: source, width and stride.
        deep_dim: C.
        query_dim: D.
    """

    def __init__(self, config: DetailConfig, *, deep_dim: int, query_dim: int) -> None:
        super().__init__()
        dim = config.dim
        self.cells = round(config.coarse_stride / config.stride)
        self.deep_proj = nn.Conv2d(deep_dim, dim, kernel_size=1, bias=False)
        self.deep_norm = nn.GroupNorm(NUM_GROUPS, dim)
        # Coarsest first; the last level is that of the fine map.
        self.levels = nn.ModuleList()
        for index, width in reversed([*enumerate(config.pixel_dims)]):
            if config.source == "image":
                pixel_map: nn.Module = ImageStem(
                    in_channels=width, dim=dim, stride=config.stride, coarse_stride=config.coarse_stride
                )
            else:
                pixel_map = nn.Conv2d(width, dim, kernel_size=1)
            self.levels.append(Level(pixel_map, dim=dim, num_blocks=COARSE_BLOCKS if index else 0))
        self.mix = ConvNormReLU(dim, dim)
        self.query_proj = nn.Linear(query_dim, dim, bias=False)
        nn.init.zeros_(self.query_proj.weight)
        # The last answer of `_has_learnt`, and the weights that it was about: their id and version.
        self._learnt = False
        self._judged = (0, -1)

    def train(self, mode: bool = True) -> DetailBranch:
        # Training may write through `.data`, which changes no version.
        self._judged = (0, -1)
        return super().train(mode)

    def forward(
        self, outputs: DecoderOutputs, queries: torch.Tensor, deep_map: torch.Tensor, pixels: Sequence[torch.Tensor]
    ) -> DecoderOutputs:
        """Refine the masks of the last stage.

        Args:
            outputs: of the decoder, with "pred_masks" (B, K, h, w).
            queries: (B, K, D), the class queries after the last layer.
            deep_map: (B, C, ., .), of any grid that covers the image.
            pixels: what `source` names, finest first: the padded image (B, I, H, W), or maps of the stem; or none.

        Returns:
            The same with "pred_masks" (B, K, h', w'). In training, the coarse masks become the last of the auxiliary
            outputs, so that they keep their loss.
        """
        coarse = outputs["pred_masks"]
        # The projected deep map. If it were a view of tokens, the gradient of the weights would not have their layout,
        # and DDP would copy it.
        fine_map = self.deep_norm(self.deep_proj(deep_map.contiguous()))
        # From coarse to fine: each level adds its pixel features.
        for level, level_pixels in zip(self.levels, reversed(pixels), strict=True):
            fine_map = level(fine_map, level_pixels)
        if not pixels:
            fine_map = _resize(fine_map, (coarse.shape[-2] * self.cells, coarse.shape[-1] * self.cells))
        fine_map = self.mix(fine_map)

        # Each query scores each pixel, in addition to its coarse mask.
        scores = self.query_proj(queries) @ fine_map.flatten(2)  # (B, K, h' * w')
        masks = _resize(coarse, fine_map.shape[-2:]) + scores.unflatten(2, fine_map.shape[-2:])

        if self.training:
            coarse_outputs: MaskOutputs = {"pred_masks": coarse}
            return {**outputs, "pred_masks": masks, "aux_outputs": [*outputs["aux_outputs"], coarse_outputs]}
        return {**outputs, "pred_masks": masks if self._has_learnt() else coarse}

    def _has_learnt(self) -> bool:
        """Whether any query scores pixels. Graphs are made of the fine masks, whatever the weights are.

        A GPU is waited for once, until the weights change. Weights made in inference mode have no version that would
        tell, and are looked at each time.
        """
        weight = self.query_proj.weight
        if is_making_graph() or weight.is_meta:
            return True
        if weight.is_inference():
            return bool(weight.any())
        weights = id(weight), weight._version
        if self._judged != weights:
            self._learnt, self._judged = bool(weight.any()), weights
        return self._learnt


def _resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def new_detail_tensors(missing: Iterable[str], weights: Mapping[str, torch.Tensor]) -> set[str]:
    """The tensors of detail branches among those that `weights` lack, if they are of a model without detail."""
    if any(TENSOR.search(name) for name in weights):
        return set()
    return {name for name in missing if TENSOR.search(name)}
