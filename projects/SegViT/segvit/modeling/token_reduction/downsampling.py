"""Which tokens an encoder keeps: query-based downsampling (QD, SegViT v1) and its edge-aware variant (EQD, v2).

Both keep the coarse grid: every second token of every second row. EQD also keeps tokens on class boundaries.

Shape shorthand: B images, h x w grid, N = h*w patch tokens, T prefix tokens, M kept tokens, C width.
"""

from __future__ import annotations

import torch
from torch import nn

from segvit.modeling.token_reduction.edge_head import EdgeHead, edge_scores
from segvit.modeling.token_reduction.token_set import KeptTokens

# Batches on a GPU are padded to a multiple of so many tokens.
LENGTH_STEP = 64


class QueryDownsampling(nn.Module):
    """Shrunk (SegViT v1, section 3.4): keep the coarse grid and all prefix tokens, the same for every image.

    Args:
        num_prefix_tokens: T.
        embed_dim: C.
        mode: how the reducing block runs, see `run_reducing_block`.
    """

    keeps_grid = True
    edge_head: EdgeHead | None = None

    def __init__(self, *, num_prefix_tokens: int, embed_dim: int, mode: str) -> None:
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.mode = mode
        # "conv_q" is only named in the paper. Ours: 3 x 3, stride 2, centred on the kept tokens. The name of the
        # dictionary is part of the tensors' names in checkpoints.
        self.sampling = nn.ModuleDict()
        if mode == "conv_q":
            self.sampling["conv"] = nn.Conv2d(embed_dim, embed_dim, kernel_size=3, stride=2, padding=1)

    @property
    def query_conv(self) -> nn.Module | None:
        """The convolution that makes the queries in mode "conv_q"."""
        return self.sampling["conv"] if self.mode == "conv_q" else None

    def forward(
        self, grid: tuple[int, int], edge_logits: torch.Tensor | None = None, *, device: torch.device
    ) -> KeptTokens:
        """The kept tokens of a grid (h, w), and the grid that they form; `edge_logits` are not used."""
        rows, columns = (torch.arange(0, length, 2, device=device) for length in grid)
        indices = (rows[:, None] * grid[1] + columns).flatten()
        prefix = torch.arange(self.num_prefix_tokens, device=device)
        keep_indices = torch.cat([prefix, self.num_prefix_tokens + indices])
        return KeptTokens(keep_indices=keep_indices[None], valid=None, grid=(rows.shape[0], columns.shape[0]))


class EdgeAwareQueryDownsampling(nn.Module):
    """Shrunk++ (SegViT v2, section 3.4): keep the coarse grid and the tokens that the edge head scores highest.

    Args:
        num_prefix_tokens: T; prefix tokens are always kept.
        edge_head: scores patches; the encoder runs it.
        selection: "threshold" keeps tokens whose score exceeds a threshold, as in v2: their number differs per image
            and is padded to the largest of the batch (see `kept_indices`). "topk" (ours) keeps the same
            number in every image: static shapes for compilation, export and steady timing.
        threshold: for "threshold": edge probability.
        keep_ratio: for "topk": number of kept tokens / N, the coarse grid included; never below that grid.
    """

    keeps_grid = False
    mode = "nearest_q"
    query_conv: nn.Module | None = None

    def __init__(
        self, *, num_prefix_tokens: int, edge_head: EdgeHead, selection: str, threshold: float, keep_ratio: float
    ) -> None:
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.edge_head = edge_head
        self.selection = selection
        self.threshold = threshold
        self.keep_ratio = keep_ratio

    def forward(self, grid: tuple[int, int], edge_logits: torch.Tensor, *, device: torch.device) -> KeptTokens:
        """Choose tokens by predicted edges, in training as in inference.

        Args:
            grid: (h, w).
            edge_logits: (B, 2, h, w).
            device: of the tokens.
        """
        scores = edge_scores(edge_logits.detach()).flatten(1)  # (B, N)
        coarse = on_coarse_grid(grid, device)

        # Choose patch tokens: indices (B, M - T) into the N patches.
        valid = None
        if self.selection == "topk":
            indices = top_tokens(scores, coarse, num_kept_tokens(grid, self.keep_ratio))
        else:
            indices, valid = kept_indices((scores > self.threshold) | coarse)

        keep_indices, valid = after_prefix(indices, valid, self.num_prefix_tokens)
        return KeptTokens(keep_indices=keep_indices, valid=valid, grid=None)


TokenReduction = QueryDownsampling | EdgeAwareQueryDownsampling


def on_coarse_grid(grid: tuple[int, int], device: torch.device) -> torch.Tensor:
    """(N,) bool: True for every second token of every second row, starting with the first."""
    even_rows, even_columns = (torch.arange(length, device=device) % 2 == 0 for length in grid)
    return (even_rows[:, None] & even_columns).flatten()


def num_kept_tokens(grid: tuple[int, int], keep_ratio: float) -> int:
    """`rounded_share`, at least the coarse grid and at most N."""
    num_coarse = ((grid[0] + 1) // 2) * ((grid[1] + 1) // 2)
    return min(max(rounded_share(grid, keep_ratio), num_coarse), grid[0] * grid[1])


def rounded_share(grid: tuple[int, int], keep_ratio: float) -> int:
    """`keep_ratio` of the N tokens, rounded; in integer arithmetic, which exporters can trace for a dynamic grid."""
    return (round(1e6 * keep_ratio) * (grid[0] * grid[1]) + 500_000) // 1_000_000


def top_tokens(scores: torch.Tensor, coarse: torch.Tensor, count: int) -> torch.Tensor:
    """Indices (B, count), sorted: the coarse grid (N,) and the tokens with the highest scores (B, N)."""
    indices = scores.masked_fill(coarse, float("inf")).topk(count, dim=1).indices
    return indices.sort(dim=1).values


def indices_of_count(is_kept: torch.Tensor, count: int) -> torch.Tensor:
    """(B, N) bool with the same number of kept tokens in every image -> their indices (B, count), sorted."""
    # By keys that are unique, because ONNX has no stable sort.
    keys = torch.arange(is_kept.shape[1], device=is_kept.device) + is_kept.shape[1] * ~is_kept
    return keys.argsort(dim=1)[:, :count]


@torch.compiler.disable(reason="the host reads the number of kept tokens")
def kept_indices(is_kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Indices (B, M) of kept tokens, sorted, padded at the end; and the validity mask (B, M), None without padding.

    The host waits for a GPU once, for the largest number of kept tokens. The length of a batch on a GPU is a multiple
    of `LENGTH_STEP`, so that memory and kernels of one length serve the next batch; a CPU would compute more padding
    for nothing. A single image is never padded.

    Args:
        is_kept: (B, N) bool.
    """
    # A stable sort moves kept indices to the front in order; the dropped ones after them serve as padding.
    indices = is_kept.int().argsort(dim=1, descending=True, stable=True)
    counts = is_kept.sum(dim=1)
    longest = int(counts.max())
    on_cpu = is_kept.device.type == "cpu"
    # A GPU is not asked whether all images keep equally many tokens: that would be a second wait.
    if len(is_kept) == 1 or (on_cpu and bool((counts == longest).all())):
        return indices[:, :longest], None
    length = longest if on_cpu else padded_length(longest, is_kept.shape[1])
    return indices[:, :length], torch.arange(length, device=is_kept.device) < counts[:, None]


def chosen_indices(is_kept: torch.Tensor, count: int | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`kept_indices`, or `indices_of_count` of a number that is the same in every image, which need no mask."""
    return kept_indices(is_kept) if count is None else (indices_of_count(is_kept, count), None)


def descending_ranks(scores: torch.Tensor) -> torch.Tensor:
    """(B, n) scores -> (B, n) int64, 0 for the highest.

    Chosen by rank, not by `topk`, tokens are in no tensor whose length an export would compare with 0.
    """
    return scores.argsort(dim=1, descending=True).argsort(dim=1)


def after_prefix(
    indices: torch.Tensor, valid: torch.Tensor | None, num_prefix_tokens: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Indices (B, M) of kept tokens and their validity mask, with the T prefix tokens, which all stay, in front."""
    prefix = torch.arange(num_prefix_tokens, device=indices.device).expand(indices.shape[0], -1)
    if valid is not None:
        valid = torch.cat([torch.ones_like(prefix, dtype=torch.bool), valid], dim=1)
    return torch.cat([prefix, num_prefix_tokens + indices], dim=1), valid


def padded_length(longest: int, num_tokens: int) -> int:
    """The next multiple of `LENGTH_STEP`, at most all tokens."""
    return min(-(-longest // LENGTH_STEP) * LENGTH_STEP, num_tokens)
