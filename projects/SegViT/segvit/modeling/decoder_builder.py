"""Build the decoder that a model's stages call for."""

from __future__ import annotations

from segvit.modeling.atm_decoder import ATMDecoder
from segvit.modeling.query_upsampling import LearnedQueryUpsampling
from segvit.modeling.shrunk_decoder import ShrunkDecoder


def build_decoder(
    *,
    in_dims: list[int],
    grid_size: tuple[int, int],
    query_upsampling: str,
    num_classes: int,
    hidden_dim: int,
    num_layers: int,
    num_heads: int,
    dropout: float = 0.0,
    init_std: float = 0.02,
) -> ATMDecoder | ShrunkDecoder:
    """Build the decoder.

    Args:
        in_dims: encoder widths of the stages, deepest first.
        grid_size: (h, w) of the training crop at the resolution of the last, shallowest stage.
        query_upsampling: "none" for `ATMDecoder`; "learned" for `ShrunkDecoder` with a query per cell of the grid.
        num_classes, hidden_dim, num_layers, num_heads, dropout, init_std: see `ATMDecoder`.

    Raises:
        ValueError: for another kind of up-sampling.
    """
    sizes = {"hidden_dim": hidden_dim, "num_layers": num_layers, "num_heads": num_heads, "dropout": dropout}
    if query_upsampling == "none":
        return ATMDecoder(num_classes=num_classes, in_dims=in_dims, init_std=init_std, **sizes)
    if query_upsampling != "learned":
        raise ValueError(f"MODEL.SEGVIT.QUERY_UPSAMPLING {query_upsampling!r} must be 'none' or 'learned'")
    upsampling = LearnedQueryUpsampling(
        grid_size=grid_size,
        in_dims=in_dims[::-1],
        dim=hidden_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        dropout=dropout,
    )
    return ShrunkDecoder(upsampling=upsampling, num_classes=num_classes, init_std=init_std, **sizes)
