"""`EncoderOnlyDecoder`: queries join the patch tokens in the last blocks of the encoder (EoMT, arXiv 2503.19108).

Written from the paper (Kerssies et al., CVPR 2025, sections 3.2 and 3.3).

Shape shorthand: B images, h x w grid, N = h*w patch tokens, h' x w' grid of the masks, C width, Q queries, K classes, L
last blocks.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import nn

from segvit.modeling.decoder.outputs import DecoderOutputs, MaskOutputs, StageOutputs
from segvit.modeling.tokens import map_to_tokens, tokens_to_map

# The power by which the share of masked queries falls (EoMT, section 3.3).
ANNEALING_POWER = 0.9


class Upsampling(nn.Sequential):
    """A map of twice the height and width: (B, C, h, w) -> (B, C, 2h, 2w)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)
        self.activation = nn.GELU()
        self.smooth = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim, bias=False)
        self.norm = LayerNorm2d(dim)


class EncoderOnlyDecoder(nn.Module):
    """A stage map to class and mask logits of every query, by the encoder's own last blocks.

    In training, queries read only the patches of the mask that they predict before a block (Mask2Former's masked
    attention), and every such prediction has losses. Block after block, more and more queries read all patches, so that
    none is masked at the end, nor in inference ("mask annealing").

    Args:
        blocks: the last L blocks, of timm, without position arguments.
        norm: of their outputs, and of what predictions are made of.
        embed_dim: C.
        num_queries: Q.
        num_classes: K.
        num_upsamplings: how many times the masks have twice the resolution of the patches.
        num_iterations: of the training, by which masks are annealed; 0 masks no query.
    """

    iteration: torch.Tensor

    def __init__(
        self,
        *,
        blocks: nn.ModuleList,
        norm: nn.Module,
        embed_dim: int,
        num_queries: int,
        num_classes: int,
        num_upsamplings: int = 2,
        num_iterations: int = 0,
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.norm = norm
        self.queries = nn.Embedding(num_queries, embed_dim)
        nn.init.normal_(self.queries.weight, std=0.02)
        self.class_head = nn.Linear(embed_dim, num_classes + 1)
        self.mask_head = nn.Sequential(
            nn.Linear(embed_dim, embed_dim), nn.GELU(), nn.Linear(embed_dim, embed_dim), nn.GELU(),
            nn.Linear(embed_dim, embed_dim),
        )  # fmt: skip
        self.upsampling = nn.Sequential(*(Upsampling(embed_dim) for _ in range(num_upsamplings)))
        self.num_iterations = num_iterations
        # Saved, so that a resumed training goes on where it was.
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    def forward(self, stage: torch.Tensor) -> DecoderOutputs:
        """A stage map (B, C, h, w) -> class logits (B, Q, K + 1) and mask logits (B, Q, h', w').

        "aux_outputs" holds, in training with masked queries, the predictions before each block.
        """
        grid = (stage.shape[-2], stage.shape[-1])
        # Append the queries to the patches.
        patches = map_to_tokens(stage)
        queries = self.queries.weight.expand(len(stage), -1, -1)
        tokens = torch.cat([patches, queries], dim=1)  # (B, N + Q, C)

        # Run the last blocks; in training, by the masks predicted before each.
        aux_outputs: list[StageOutputs | MaskOutputs] = []
        masked_shares = self._masked_shares() if self.training else [0.0] * len(self.blocks)
        for block, share in zip(self.blocks, masked_shares, strict=True):
            if self.training and self.num_iterations:
                aux_outputs.append(self._predict(tokens, grid))
                masks = cast("StageOutputs", aux_outputs[-1])["pred_masks"]
                tokens = block(tokens, attn_mask=attention_mask(masks.detach(), grid, share=share))
            else:
                tokens = block(tokens)
        if self.training:
            self.iteration += 1
        return {**self._predict(tokens, grid), "aux_outputs": aux_outputs}

    def _predict(self, tokens: torch.Tensor, grid: tuple[int, int]) -> StageOutputs:
        """Tokens (B, N + Q, C) -> logits; a mask is the product of its query and the up-sampled patches."""
        num_queries = self.queries.num_embeddings
        patches, queries = self.norm(tokens).split([tokens.shape[1] - num_queries, num_queries], dim=1)
        pixels = self.upsampling(tokens_to_map(patches, grid))  # (B, C, h', w')
        masks = (self.mask_head(queries) @ pixels.flatten(2)).unflatten(2, pixels.shape[-2:])
        return {"pred_logits": self.class_head(queries), "pred_masks": masks}

    def _masked_shares(self) -> list[float]:
        """The share of masked queries in each block, at this iteration."""
        progress = self.iteration.item() / self.num_iterations if self.num_iterations else 1.0
        return masked_shares(progress, len(self.blocks))


def masked_shares(progress: float, num_blocks: int) -> list[float]:
    """The share of masked queries in each block, of the progress of the training, 0 to 1.

    The training has two parts more than blocks. In the first all queries are masked, in the last none; in between, the
    shares of the blocks fall from 1 to 0 one after the other.
    """
    parts = progress * (num_blocks + 2)
    return [(1 - min(max(parts - 1 - index, 0.0), 1.0)) ** ANNEALING_POWER for index in range(num_blocks)]


def attention_mask(masks: torch.Tensor, grid: tuple[int, int], *, share: float) -> torch.Tensor | None:
    """Which tokens may read which: (B, 1, N + Q, N + Q), True where allowed; None where all may.

    Patches read all tokens, and queries all queries. A masked query reads the patches of its own mask.

    Args:
        masks: (B, Q, h', w') logits.
        grid: (h, w).
        share: of the queries that are masked, chosen at random.
    """
    if share == 0:
        return None
    num_images, num_queries = masks.shape[:2]
    own = F.interpolate(masks.float(), size=grid, mode="bilinear", align_corners=False).flatten(2) > 0  # (B, Q, N)
    free = torch.rand(num_images, num_queries, 1, device=masks.device) >= share
    num_patches = own.shape[2]
    allowed = own.new_ones(num_images, 1, num_patches + num_queries, num_patches + num_queries)
    allowed[:, 0, num_patches:, :num_patches] = own | free
    return allowed
