"""Scores or labels of one image at its output size, by the way that suits the device.

A CPU works on few rows or classes at a time, which stay in its cache, and leaves out classes that cannot win. A GPU
takes as many classes at once as a fixed memory holds, and decides nothing on the host. On an H200 the labels of ViT-B
512 with 150 classes, 20 of them in the image, took 53 ms by pruning, with a wait for each class and strip, and take 11
ms in this way, the model included (docs/gpu.md).

Shape shorthand: K classes, k of them, h x w grid, H x W padded pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch

from segvit.modeling.postprocessing.image_sizes import ImageSizes
from segvit.modeling.postprocessing.pruned_argmax import pruned_argmax
from segvit.modeling.postprocessing.resizing import resize_maps
from segvit.modeling.postprocessing.score_bands import (
    elements_at_once,
    join_bands,
    labels_of_bands,
    prefers_few_launches,
    resize_bands,
)
from segvit.modeling.postprocessing.semantic_inference import class_scores

# A range of k classes to their scores (k, H, W).
Scorer = Callable[[slice], torch.Tensor]


def resized_scores(scores: torch.Tensor, sizes: ImageSizes) -> torch.Tensor:
    """(K, H, W) scores without their padding, at the output size."""
    if prefers_few_launches(scores.device):
        return _resized_at_once(scores, sizes)
    return join_bands(_resized_bands(scores, sizes), sizes.output)


def labels_of_scores(scores: torch.Tensor, sizes: ImageSizes, dtype: torch.dtype) -> torch.Tensor:
    """The argmax over classes of `resized_scores`, the first of equals: (height, width) of `sizes.output`."""
    if prefers_few_launches(scores.device):
        groups = class_groups(len(scores), sizes, scores.device)
        return argmax_by_groups(lambda some: scores[some], groups, sizes, dtype)
    return labels_of_bands(_resized_bands(scores, sizes), sizes.output, dtype)


def labels_of_masks(
    masks: torch.Tensor, probabilities: torch.Tensor, sizes: ImageSizes, dtype: torch.dtype
) -> torch.Tensor:
    """The class with the highest of the "diagonal" scores, without the scores of all classes at once.

    Args:
        masks: (K, h, w) logits on a grid that covers `sizes.padded`.
        probabilities: (K,).
        sizes: of the image.
        dtype: of the labels; it must hold K - 1.

    Returns:
        (height, width) of `sizes.output`. On a CPU, rounding may decide where the two best scores differ by less than
        1e-6 (see `pruned_argmax`).
    """
    if not prefers_few_launches(masks.device):
        return pruned_argmax(masks, probabilities, sizes, dtype=dtype)

    def scores_of(some: slice) -> torch.Tensor:
        return class_scores(masks[None, some], probabilities[None, some], sizes.padded)[0]

    return argmax_by_groups(scores_of, class_groups(len(masks), sizes, masks.device), sizes, dtype)


def argmax_by_groups(scores_of: Scorer, groups: Iterable[slice], sizes: ImageSizes, dtype: torch.dtype) -> torch.Tensor:
    """The argmax of resized scores, the first of equals; one group of classes exists at a time.

    It launches about ten kernels for each group, and waits for none.

    Args:
        scores_of: a range of k classes to their scores (k, H, W).
        groups: these ranges, in ascending order.
        sizes: of the image.
        dtype: of the labels.
    """
    best: torch.Tensor | None = None
    labels = torch.empty(0, dtype=dtype)
    for some in groups:
        scores, classes = _resized_at_once(scores_of(some), sizes).max(dim=0)
        classes = (classes + some.start).to(dtype)
        if best is None:
            best, labels = scores, classes
            continue
        # A later class must be better, not equal: the first of equals wins, as in `argmax`.
        labels = torch.where(scores > best, classes, labels)
        best = torch.maximum(best, scores)
    return labels


def class_groups(num_classes: int, sizes: ImageSizes, device: torch.device) -> Iterator[slice]:
    """Ranges of classes whose scores, at the padded or the output size, are about `elements_at_once`."""
    pixels = max(math.prod(sizes.padded), math.prod(sizes.output))
    count = max(1, elements_at_once(device) // pixels)
    for start in range(0, num_classes, count):
        yield slice(start, min(start + count, num_classes))


def _resized_bands(scores: torch.Tensor, sizes: ImageSizes) -> Iterator[torch.Tensor]:
    height, width = sizes.image
    return resize_bands([scores[:, :height, :width]], sizes.image, sizes.output)


def _resized_at_once(scores: torch.Tensor, sizes: ImageSizes) -> torch.Tensor:
    height, width = sizes.image
    scores = scores[:, :height, :width]
    if sizes.image == sizes.output:
        return scores
    return resize_maps(scores[None], sizes.output)[0]
