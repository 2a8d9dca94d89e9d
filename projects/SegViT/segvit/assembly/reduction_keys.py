"""`reduction_config`: the token reduction that a config describes, and the keys that its arguments come from."""

from __future__ import annotations

from yacs.config import CfgNode

from segvit.errors import UserError
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig


def reduction_config(vit: CfgNode) -> ReductionConfig | None:
    """The token reduction of a config node MODEL.VIT; None for none."""
    if vit.REDUCTION == "none":
        if vit.REDUCTION_SAMPLING != "nearest_q":
            raise UserError(
                f"MODEL.VIT.REDUCTION_SAMPLING {vit.REDUCTION_SAMPLING!r} fits MODEL.VIT.REDUCTION 'shrunk', not 'none'"
            )
        return None
    merges = vit.REDUCTION == "merge"
    if merges:
        selection, threshold, share = vit.MERGE.SELECTION, vit.MERGE.THRESHOLD, vit.MERGE.SHARE
    else:
        selection, threshold, share = vit.EDGE.SELECTION, vit.EDGE.THRESHOLD, vit.EDGE.SHARE
    blocks = {"cells": 0, "merge": vit.MERGE.BLOCK}
    return ReductionConfig(
        kind=vit.REDUCTION,
        block_index=blocks.get(vit.REDUCTION, vit.REDUCTION_BLOCK),
        mode=vit.REDUCTION_SAMPLING,
        edge_block_index=vit.EDGE.BLOCK if vit.REDUCTION == "shrunk++" else 0,
        selection=selection,
        threshold=threshold,
        keep_ratio=share,
        weighs_sizes=merges and vit.MERGE.WEIGH_SIZES,
        global_block_indices=tuple(vit.MERGE.GLOBAL_BLOCKS) if merges else (),
        global_threshold=vit.MERGE.GLOBAL_THRESHOLD,
        global_keep_ratio=vit.MERGE.GLOBAL_SHARE,
    )


def reduction_keys(vit: CfgNode) -> dict[str, str]:
    """The config keys of the arguments of `ReductionConfig`, for error messages."""
    merges = vit.REDUCTION == "merge"
    node = "MODEL.VIT.MERGE" if merges else "MODEL.VIT.EDGE"
    return {
        "kind": "MODEL.VIT.REDUCTION",
        "mode": "MODEL.VIT.REDUCTION_SAMPLING",
        "block_index": f"{node}.BLOCK" if merges else "MODEL.VIT.REDUCTION_BLOCK",
        "edge_block_index": "MODEL.VIT.EDGE.BLOCK",
        "selection": f"{node}.SELECTION",
        "threshold": f"{node}.THRESHOLD",
        "keep_ratio": f"{node}.SHARE",
        "global_block_indices": "MODEL.VIT.MERGE.GLOBAL_BLOCKS",
        "global_threshold": "MODEL.VIT.MERGE.GLOBAL_THRESHOLD",
        "global_keep_ratio": "MODEL.VIT.MERGE.GLOBAL_SHARE",
    }
