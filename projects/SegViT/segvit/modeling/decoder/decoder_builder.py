"""Build the decoder that a model's stages call for."""

from __future__ import annotations

from segvit.errors import UserError
from segvit.modeling.decoder.atm_decoder import ATMDecoder
from segvit.modeling.decoder.shrunk_decoder import ShrunkDecoder
from segvit.modeling.token_reduction.query_upsampling import InheritedQueryUpsampling, LearnedQueryUpsampling


def build_decoder(
    *,
    in_dims: list[int],
    grid_size: tuple[int, int],
    query_upsampling: str,
    upsampling_layers: int,
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
        query_upsampling: "none" for `ATMDecoder`; for `ShrunkDecoder` the queries that restore the full grid: "learned"
            per cell, "inherited" from the shallow stage, or "nearest", those with the nearest kept token added.
        upsampling_layers: their layers, per stage.
        num_classes, hidden_dim, num_layers, num_heads, dropout, init_std: see `ATMDecoder`.

    Raises:
        UserError: for another kind of up-sampling, or stages that do not fit it.
    """
    common = {"num_heads": num_heads, "dropout": dropout}
    sizes = {"num_classes": num_classes, "hidden_dim": hidden_dim, "num_layers": num_layers, "init_std": init_std}
    if query_upsampling == "none":
        return ATMDecoder(in_dims=in_dims, **sizes, **common)
    if query_upsampling not in ("learned", "inherited", "nearest"):
        raise UserError(
            f"MODEL.SEGVIT.QUERY_UPSAMPLING {query_upsampling!r} must be 'none', 'learned', 'inherited' or 'nearest'"
        )
    in_dims = in_dims[::-1]
    common_upsampling = {"in_dims": in_dims, "dim": hidden_dim, "num_layers": upsampling_layers, **common}
    if query_upsampling == "learned":
        return ShrunkDecoder(
            upsampling=LearnedQueryUpsampling(grid_size=grid_size, **common_upsampling), **sizes, **common
        )
    if len(in_dims) != 2:
        raise UserError(
            f"MODEL.SEGVIT.QUERY_UPSAMPLING {query_upsampling!r} reads two stages, the last and one from before the "
            f"reduction, but MODEL.SEM_SEG_HEAD.IN_FEATURES names {len(in_dims)}"
        )
    upsampling = InheritedQueryUpsampling(adds_nearest=query_upsampling == "nearest", **common_upsampling)
    return ShrunkDecoder(upsampling=upsampling, **sizes, **common)
