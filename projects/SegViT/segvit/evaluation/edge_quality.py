"""`edge_quality`: precision and recall of edge scores, which should rank patches with a class boundary first.

Shape shorthand: n patches of a whole dataset.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from segvit.errors import UserError


class EdgeQuality(TypedDict):
    """All in 0 to 1.

    prevalence: share of patches that are edges.
    average_precision: area under precision over recall, by steps (no interpolation).
    recall_at_prevalence: recall where as many patches are taken, best scores first, as are edges.
    kept_share, kept_recall: share of the patches that the model kept, the coarse grid included, and the share of the
        edges among them.
    """

    prevalence: float
    average_precision: float
    recall_at_prevalence: float
    kept_share: float
    kept_recall: float


def edge_quality(scores: np.ndarray, is_edge: np.ndarray, is_kept: np.ndarray) -> EdgeQuality:
    """Judge scores (n,) and kept patches (n,) bool against the truth (n,) bool.

    Raises UserError if no patch is an edge: precision and recall are undefined.
    """
    num_edges = int(is_edge.sum())
    if num_edges == 0:
        raise UserError("no patch of the dataset contains a class boundary: precision and recall are undefined")
    found = is_edge[np.argsort(-scores, kind="stable")]
    precision = found.cumsum() / np.arange(1, len(found) + 1)
    return EdgeQuality(
        prevalence=num_edges / len(found),
        average_precision=float(precision[found].mean()),
        recall_at_prevalence=float(found[:num_edges].sum() / num_edges),
        kept_share=float(is_kept.mean()),
        kept_recall=float(is_kept[is_edge].mean()),
    )
