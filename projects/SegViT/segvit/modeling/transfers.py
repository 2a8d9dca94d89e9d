"""`send`: a tensor to a device without a wait for it."""

from __future__ import annotations

import torch


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`tensor.to(device)`. From main memory to a GPU it goes by pinned memory, so that the host goes on at once."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
