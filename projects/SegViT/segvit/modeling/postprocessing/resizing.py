"""`resize_maps`: bilinear resizing of the maps of classes, each by itself.

Shape shorthand: B images, K classes, h x w grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from segvit.modeling.grid_tensors import is_making_graph


def resize_maps(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, K, h, w) to (B, K, *size), bilinear; corners are not aligned.

    On a CPU, PyTorch's loops run on from one map to the next, so that the last bit of a map depends on the number of
    maps. Where no gradient is taken, maps are therefore resized one by one: a class has the same scores however many
    classes and images are beside it.
    """
    if maps.device.type != "cpu" or torch.is_grad_enabled() or is_making_graph():
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    resized = maps.new_empty(*maps.shape[:2], *size)
    for image, resized_image in zip(maps, resized, strict=True):
        for one, resized_one in zip(image, resized_image, strict=True):
            resized_one.copy_(F.interpolate(one[None, None], size=size, mode="bilinear", align_corners=False)[0, 0])
    return resized
