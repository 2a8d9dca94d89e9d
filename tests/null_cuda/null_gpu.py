"""`Count` and `Values`: what a piece of work asks of the null device, and what the host reads from it.

Import it only in a program that runs on the null device (see null_device.py).
"""

from __future__ import annotations

import ctypes
import sys
import traceback
from collections import Counter
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# There is no cuDNN on it.
torch.backends.cudnn.enabled = False
torch.backends.cuda.enable_cudnn_sdp(False)

NAMES = ("kernels", "products", "memsets", "waits", "to_device", "to_host", "on_device")
# What the host waits for, by the device's numbers (device/null_device.h).
WAITS = {1: "stream", 2: "device", 3: "event", 4: "copy"}
# Libraries whose lines are named where no line of the package is deeper.
LIBRARIES = ("/detectron2/", "/timm/", "/torch/amp/", "/torch/optim/", "/torch/nn/utils/")
# `nonzero` runs on CUDA as a reduction, two scans and a selection, with a wait for the number between them. The null
# device would read a number that no kernel has computed, so `Values` answers in its place, by two kernels of the four.
MORE_KERNELS_OF_NONZERO = 2

# What `item()` calls; in inference mode it arrives as it is.
READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default)

_device = ctypes.CDLL(None)
_Hook = ctypes.CFUNCTYPE(None, ctypes.c_int)
_active: list[Count] = []


class Count:
    """Counts, as a context, launches and waits of the host.

    Args:
        by_line: also count launches by line, which is slow.

    Attributes:
        launches: kernels, products of cuBLAS and fills.
        waits: how often the host waited for the device.
        copies: between host and device.
        wait_lines, launch_lines: the same by line of Python.
    """

    def __init__(self, *, by_line: bool = False) -> None:
        self.wait_lines: Counter[str] = Counter()
        self.launch_lines: Counter[str] = Counter()
        self._on_wait = _Hook(lambda kind: self.wait_lines.update([f"{line_of_python()} ({WAITS[kind]})"]))
        self._on_launch = _Hook(lambda kind: self.launch_lines.update([line_of_python()])) if by_line else _Hook(0)
        self._nonzeros = 0

    def __enter__(self) -> Count:
        _device.null_set_wait_hook(self._on_wait)
        _device.null_set_launch_hook(self._on_launch)
        _active.append(self)
        _device.null_reset()
        return self

    def __exit__(self, *_: object) -> None:
        values = (ctypes.c_long * len(NAMES))()
        _device.null_counts(values)
        _active.remove(self)
        _device.null_set_wait_hook(_Hook(0))
        _device.null_set_launch_hook(_Hook(0))
        counts = dict(zip(NAMES, values, strict=True))
        self.launches = counts["kernels"] + counts["products"] + counts["memsets"]
        self.launches += MORE_KERNELS_OF_NONZERO * self._nonzeros
        self.waits = counts["waits"] + self._nonzeros
        self.copies = counts["to_device"] + counts["to_host"]

    def add_nonzero(self) -> None:
        """Count what `nonzero` does on a GPU."""
        self._nonzeros += 1
        self.wait_lines[f"{line_of_python()} (nonzero)"] += 1

    def as_dict(self) -> dict[str, Any]:
        """For a table of counts."""
        return {"launches": self.launches, "waits": self.waits, "wait_lines": dict(self.wait_lines.most_common())}

    def report(self, title: str, lines: int = 40) -> str:
        """A text with the counts and the lines that wait and launch most."""
        rows = [f"{title}: {self.launches} launches, {self.waits} waits, {self.copies} copies"]
        rows += [f"  waits    {count:5d}  {line}" for line, count in self.wait_lines.most_common()]
        rows += [f"  launches {count:5d}  {line}" for line, count in self.launch_lines.most_common(lines)]
        return "\n".join(rows)


def line_of_python() -> str:
    """The deepest line of the package on the stack, and the deepest of a library that it calls; "autograd" for none."""
    frames = traceback.extract_stack()
    package = [index for index, frame in enumerate(frames) if "/segvit/" in frame.filename]
    library = [index for index, frame in enumerate(frames) if any(name in frame.filename for name in LIBRARIES)]
    chosen = [*package[-1:], *[index for index in library[-1:] if index > max(package, default=-1)]]
    names = [f"{_short(frames[index].filename)}:{frames[index].lineno}" for index in chosen]
    return " > ".join(names) or "autograd"


def _short(path: str) -> str:
    return path.split("/segvit/")[-1].split("site-packages/")[-1]


class Values(TorchDispatchMode):
    """Answers what the host reads from the device, since its kernels compute nothing. Copies into pinned
    memory are zero.

    Args:
        nonzero: the number of elements that `nonzero` finds, or all of a smaller tensor.
        integers, floats, bools: values of `item()` by type. Loss scaling reads that nothing has overflowed.
    """

    def __init__(self, *, nonzero: int = 9, integers: int = 400, floats: float = 1.0, bools: bool = True) -> None:
        super().__init__()
        self.nonzero = nonzero
        self.integers = integers
        self.floats = floats
        self.bools = bools

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """What torch.compile has compiled reads nothing; without this, it would compile nothing."""
        return True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        on_device = bool(args) and isinstance(args[0], torch.Tensor) and args[0].is_cuda
        if on_device and func is torch.ops.aten.nonzero.default:
            for counting in _active:
                counting.add_nonzero()
            found = torch.arange(min(self.nonzero, args[0].numel()), device=args[0].device)
            return found[:, None].repeat(1, args[0].dim())
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.copy_.default and args[1].is_cuda and not args[0].is_cuda and args[0].is_pinned():
            return result.zero_()
        if not on_device or func not in READS:
            return result
        if args[0].dtype == torch.bool:
            return self.bools
        if not args[0].is_floating_point():
            return self.integers
        return 0.0 if _reads_overflow(sys._getframe(1)) else self.floats


def _reads_overflow(frame: FrameType | None) -> bool:
    """Whether PyTorch's loss scaling reads its count of infinite gradients."""
    for _ in range(8):
        if frame is None:
            return False
        if frame.f_code.co_name == "_maybe_opt_step":
            return True
        frame = frame.f_back
    return False
