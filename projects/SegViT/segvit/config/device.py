"""Devices and number formats that config keys name: `require_device` and `number_format`."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import torch

from segvit.errors import UserError

logger = logging.getLogger(__name__)

FORMATS = ("auto", "float32", "float16", "bfloat16")
# Values of ONEDNN_MAX_CPU_ISA, which limits the instructions of oneDNN, without bfloat16.
ISA_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


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


def number_format(name: str, device_type: str, *, key: str) -> torch.dtype:
    """The type "float32", which means no autocast, "float16" or "bfloat16".

    "auto" is bfloat16 on a GPU that computes in it, else float32. A CPU without bfloat16 instructions gets float32,
    with a warning.

    Args:
        name: of the type.
        device_type: "cuda" or "cpu".
        key: the config key that names it, for the message.

    Raises:
        UserError: see `require_number_format`.
    """
    require_number_format(name, device_type, key=key)
    if name == "auto":
        name = "bfloat16" if device_type == "cuda" and gpu_computes_bfloat16() else "float32"
    if name == "bfloat16" and device_type == "cpu" and not cpu_computes_bfloat16():
        logger.warning(
            "%s bfloat16: this CPU has no units for it and would emulate it, several times slower: float32 is used",
            key,
        )
        name = "float32"
    return getattr(torch, name)


def require_number_format(name: str, device_type: str, *, key: str) -> None:
    """Raise UserError, naming the key, for an unknown name, and for float16 on a CPU."""
    if name not in FORMATS:
        raise UserError(f"{key} {name!r} must be 'auto', 'float32', 'float16' or 'bfloat16'")
    if name == "float16" and device_type == "cpu":
        raise UserError(f"{key} float16 needs a GPU; use bfloat16 on the CPU")


def gpu_computes_bfloat16() -> bool:
    """Whether this machine's GPU has instructions for bfloat16; a GPU that another machine has is assumed to."""
    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)


def cpu_computes_bfloat16() -> bool:
    """Whether PyTorch has instructions for products of bfloat16 here (AVX-512 BF16, AMX, or those of ARM).

    The variables ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA may forbid those that the CPU has.

    Without them a 3 x 3 convolution took 2 (AVX-512) to 18 (AVX2) times as long in bfloat16 as in float32, with them
    0.7 times (forward and backward, one thread).
    """
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        return False
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in ISA_WITHOUT_BFLOAT16:
        return False
    if hasattr(torch.cpu, "get_capabilities"):  # torch 2.11
        return any(value for name, value in torch.cpu.get_capabilities().items() if name.endswith("bf16"))
    info = Path("/proc/cpuinfo")
    return info.is_file() and re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", info.read_text()) is not None
