"""Semantic segmentation metrics, and the matrix that they come from.

Shape shorthand: K classes, H x W pixels of a label map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor


def confusion_matrix(labels: Tensor, truth: Tensor, num_classes: int, ignore_label: int) -> Tensor:
    """Count pixels by ground truth (row) and prediction (column), ignored ones left out.

    By one `scatter_add_`, for which the host does not wait, unlike `bincount` and boolean indices on a GPU.

    Args:
        labels: predicted ids, (H, W) integers in 0..K-1.
        truth: true ids, (H, W) int64 in 0..K-1 or `ignore_label`.

    Returns:
        (K, K) int64 on the device of the labels.
    """
    num_pairs = num_classes**2
    pairs = torch.add(labels.long(), truth, alpha=num_classes)
    pairs = pairs.masked_fill_(truth == ignore_label, num_pairs).flatten()
    counts = torch.zeros(num_pairs + 1, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(0, pairs, torch.ones_like(counts[:1]).expand(len(pairs)))
    return counts[:-1].reshape(num_classes, num_classes)


def segmentation_metrics(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Detectron2's semantic segmentation metrics, in per cent, from a (K, K) matrix with the ground truth in rows."""
    hits = matrix.diagonal().astype(float)  # (K,)
    pixels = matrix.sum(axis=1).astype(float)
    union = pixels + matrix.sum(axis=0) - hits
    present = pixels > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = 100 * np.where(present, hits / pixels, np.nan)
        iou = 100 * np.where(present, hits / union, np.nan)
    return {
        "mIoU": _mean(iou[present]),
        "fwIoU": _mean(iou[present], pixels[present]),
        **{f"IoU-{name}": float(value) for name, value in zip(classes, iou)},
        "mACC": _mean(accuracy[present]),
        "pACC": _mean(accuracy[present], pixels[present]),
        **{f"ACC-{name}": float(value) for name, value in zip(classes, accuracy)},
    }


def _mean(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    return float(np.average(values, weights=weights)) if values.size else math.nan


def boundary_metrics(iou: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """The boundary IoU of each class, (K,) in per cent, and its mean over the classes that are not NaN."""
    return {
        "mBoundaryIoU": _mean(iou[~np.isnan(iou)]),
        **{f"BoundaryIoU-{name}": float(value) for name, value in zip(classes, iou)},
    }


def metrics_table(matrix: np.ndarray, metrics: Mapping[str, float], classes: Sequence[str]) -> str:
    """The metrics that there are, a line per class."""
    share = 100 * matrix.sum(axis=1) / max(matrix.sum(), 1)
    columns = {"IoU": "IoU", "BoundaryIoU": "boundary IoU", "ACC": "Acc"}
    columns = {prefix: title for prefix, title in columns.items() if f"m{prefix}" in metrics}
    rows = [(name, *(metrics[f"{prefix}-{name}"] for prefix in columns), part) for name, part in zip(classes, share)]
    rows.append(("mean", *(metrics[f"m{prefix}"] for prefix in columns), share.sum()))
    summary = "  ".join(f"{name} {value:.2f}" for name, value in metrics.items() if "-" not in name)
    return tabulate(rows, ("class", *columns.values(), "% of pixels"), "simple", floatfmt=".2f") + "\n" + summary
