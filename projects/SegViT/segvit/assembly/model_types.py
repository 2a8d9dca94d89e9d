"""`ModelInput` and `ModelOutput`: the dicts that the meta-architecture takes and returns, one per image.

Shape shorthand: I channels, H x W pixels, K classes.
"""

from __future__ import annotations

from typing import TypedDict

import torch

from segvit.modeling.postprocessing.image_sizes import Size


class _Image(TypedDict):
    image: torch.Tensor


class ModelInput(_Image, total=False):
    """One image, as Detectron2's mappers return it.

    Attributes:
        image: (I, H, W) in the channel order and range of INPUT.FORMAT.
        sem_seg: (H, W) integer labels, in training.
        sem_seg_ids: (n,) int64 on the CPU, the labels that occur in `sem_seg`; by default they are looked for.
        height, width: output size in inference; the size of `image` by default.
    """

    sem_seg: torch.Tensor
    sem_seg_ids: torch.Tensor
    height: int
    width: int


class ModelOutput(TypedDict, total=False):
    """The result of one image: one of the two.

    Attributes:
        sem_seg: (K, height, width) float scores, see `SemanticInference`.
        sem_seg_labels: (height, width) labels, where the model returns labels only.
    """

    sem_seg: torch.Tensor
    sem_seg_labels: torch.Tensor


def requested_size(inputs: ModelInput) -> Size:
    """Height and width of the result of an image: the image's own unless the input names others."""
    image = inputs["image"]
    return inputs.get("height", image.shape[-2]), inputs.get("width", image.shape[-1])
