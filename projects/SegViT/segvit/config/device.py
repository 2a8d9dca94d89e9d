"""The device that a user names: one that PyTorch knows, and that is there."""

from __future__ import annotations

import torch

from segvit.errors import UserError


def require_device(name: str, *, origin: str = "MODEL.DEVICE") -> torch.device:
    """The device of that name, such as "cpu" or "cuda:1". Raises UserError, naming `origin`, where there is none."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"{origin} {name!r} is no device: take cpu, cuda or, of several GPUs, cuda:1") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise UserError(f"{origin} {name!r}: PyTorch sees no GPU here; take cpu")
        if (device.index or 0) >= count:
            raise UserError(f"{origin} {name!r}: PyTorch sees {count} GPUs here, cuda:0 to cuda:{count - 1}")
    return device
