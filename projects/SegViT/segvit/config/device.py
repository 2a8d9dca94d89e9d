"""Validate a device name such as "cuda:1"."""

from __future__ import annotations

import torch

from segvit.errors import UserError


def require_device(name: str, *, origin: str = "MODEL.DEVICE") -> torch.device:
    """Parse a device name and check that the device exists.

    Args:
        name: such as "cpu" or "cuda:1".
        origin: the config key or option that it comes from, for the message.

    Raises:
        UserError: PyTorch does not know the name, or does not see the device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"{origin} {name!r} is not a device: use cpu, cuda, or cuda:1 for the second GPU") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise UserError(f"{origin} {name!r}: PyTorch sees no GPU; use cpu")
        if (device.index or 0) >= count:
            raise UserError(f"{origin} {name!r}: PyTorch sees {count} GPUs, cuda:0 to cuda:{count - 1}")
    return device
