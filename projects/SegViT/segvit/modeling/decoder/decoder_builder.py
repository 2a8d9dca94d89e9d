"""`build_decoder`: an `ATMDecoder`, or a `ShrunkDecoder` with its query up-sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from segvit.errors import ArgumentError
from segvit.modeling.decoder.atm_decoder import ATMDecoder
from segvit.modeling.decoder.detail import DetailConfig
from segvit.modeling.decoder.shrunk_decoder import ShrunkDecoder
from segvit.modeling.encoder.stage_shape import StageShape
from segvit.modeling.encoder.token_embedding import is_pixel_stage
from segvit.modeling.token_reduction.query_upsampling import InheritedQueryUpsampling, LearnedQueryUpsampling


def check_stages(
    in_features: Sequence[str], shapes: Mapping[str, StageShape], *, query_upsampling: str = "none"
) -> None:
    """Raise ArgumentError if a decoder cannot read some stages of an encoder.

    Args:
        in_features: names of the stages, deepest first.
        shapes: of the encoder's stages.
        query_upsampling: see `build_decoder`.
    """
    maps = in_features if query_upsampling == "none" else in_features[-1:]
    no_maps = [name for name in maps if shapes[name].stride is None]
    if no_maps:
        raise ArgumentError(
            "in_features",
            f"{no_maps} come after the reduction of Shrunk++ and are not maps: read stages before it, or set "
            "`query_upsampling` 'nearest' and read two, the last one and one before the reduction",
        )
    deepest, shallowest = shapes[in_features[0]], shapes[in_features[-1]]
    is_halved = deepest.stride in (None, 2 * (shallowest.stride or 0))
    if query_upsampling == "nearest" and not is_halved and not deepest.is_cell_map:
        raise ArgumentError(
            "query_upsampling",
            f"'nearest' needs two stages of which the deeper one has lost every second row and column, but the strides "
            f"of {list(in_features)} are {[shapes[name].stride for name in in_features]}: name one stage after a "
            "token reduction and one before, or set 'none'",
        )


def detail_config(
    in_features: Sequence[str], shapes: Mapping[str, StageShape], *, source: str, dim: int, stride: int
) -> DetailConfig | None:
    """The detail branch of a decoder of stages that `check_stages` accepts; None for the source "none".

    Args:
        in_features, shapes: see `check_stages`.
        source, dim, stride: see `DetailConfig`.

    Raises:
        ArgumentError: if one of these is unknown or out of range.
    """
    if source == "none":
        return None
    return DetailConfig(
        source=source,
        dim=dim,
        stride=stride,
        coarse_stride=shapes[in_features[-1]].stride or 0,
        pixel_dims=tuple(shape.channels for name, shape in shapes.items() if is_pixel_stage(name)),
    )


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
    detail: DetailConfig | None = None,
) -> ATMDecoder | ShrunkDecoder:
    """Build a decoder.

    Args:
        in_dims: encoder widths of the stages, deepest first.
        grid_size: (h, w) of the training crop at the resolution of the last, shallowest stage.
        query_upsampling: "none" for `ATMDecoder`; "learned", "inherited" or "nearest" for `ShrunkDecoder`, see
            `build_query_upsampling`.
        upsampling_layers: layers per stage of the query up-sampling; "nearest" may have none.
        num_classes, hidden_dim, num_layers, num_heads, dropout, init_std, detail: see `ATMDecoder`.

    Raises:
        ArgumentError: for another kind of up-sampling, stages that do not fit it, or a width that no whole number of
            heads fills.
    """
    if hidden_dim % num_heads:
        raise ArgumentError("num_heads", f"{num_heads} does not divide the decoder width {hidden_dim}")
    if query_upsampling == "none":
        return ATMDecoder(
            num_classes=num_classes,
            in_dims=in_dims,
            hidden_dim=hidden_dim,
            num_layers=num_layers,
            num_heads=num_heads,
            dropout=dropout,
            init_std=init_std,
            detail=detail,
        )
    upsampling = build_query_upsampling(
        query_upsampling,
        in_dims=in_dims,
        grid_size=grid_size,
        dim=hidden_dim,
        num_layers=upsampling_layers,
        num_heads=num_heads,
        dropout=dropout,
    )
    return ShrunkDecoder(
        upsampling=upsampling,
        num_classes=num_classes,
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        dropout=dropout,
        init_std=init_std,
        detail=detail,
    )


def build_query_upsampling(
    query_upsampling: str,
    *,
    in_dims: list[int],
    grid_size: tuple[int, int],
    dim: int,
    num_layers: int,
    num_heads: int,
    dropout: float,
) -> LearnedQueryUpsampling | InheritedQueryUpsampling:
    """Build the module that restores the full grid.

    Args:
        query_upsampling: which queries: "learned" per grid cell; "inherited" from the tokens of the shallow stage; or
            "nearest", inherited ones with the nearest kept token added.
        in_dims, grid_size: see `build_decoder`.
        dim, num_layers, num_heads, dropout: see `LearnedQueryUpsampling`.

    Raises:
        ArgumentError: for another name; if inherited queries get more or fewer than two stages; or if queries that know
            nothing of the last stage have no layer to read it.
    """
    if not num_layers and query_upsampling != "nearest":
        raise ArgumentError("upsampling_layers", f"0: {query_upsampling!r} queries need a layer to read the last stage")
    shallowest_first = in_dims[::-1]
    if query_upsampling == "learned":
        return LearnedQueryUpsampling(
            grid_size=grid_size,
            in_dims=shallowest_first,
            dim=dim,
            num_layers=num_layers,
            num_heads=num_heads,
            dropout=dropout,
        )
    if query_upsampling not in ("inherited", "nearest"):
        raise ArgumentError(
            "query_upsampling", f"{query_upsampling!r} must be 'none', 'learned', 'inherited' or 'nearest'"
        )
    if len(in_dims) != 2:
        raise ArgumentError(
            "query_upsampling",
            f"{query_upsampling!r} reads two stages, the last and one from before the reduction, but `in_dims` has "
            f"{len(in_dims)}",
        )
    return InheritedQueryUpsampling(
        in_dims=shallowest_first,
        dim=dim,
        num_layers=num_layers,
        num_heads=num_heads,
        dropout=dropout,
        adds_nearest=query_upsampling == "nearest",
    )
