"""`build_null_device`: a CUDA device without a GPU, compiled from device/, on which programs of the tests run.

The device is a library with the functions of the CUDA runtime and of cuBLAS. It claims to be an H100, counts kernels,
copies and waits of the host, and computes nothing. A program for which it is preloaded runs PyTorch's real CUDA code:
devices are checked, autocast follows CUDA's lists, attention picks CUDA's kernels, and fused optimizers and loss
scaling run. Counts are within a few per cent of those of a GPU; values are meaningless, and nothing is shown of time.

    python tests/null_cuda/null_device.py PROGRAM ARGUMENTS...

builds it and runs a program on it, as projects/SegViT/benchmarks/gpu_proof.py. Its checks of values cannot pass there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import segvit

SOURCES = Path(__file__).parent / "device"
DRIVER = "driver.c"


def missing_for_null_device() -> str:
    """What this machine lacks to build and use the device; "" if nothing."""
    if not torch.version.cuda:
        return "this PyTorch is no CUDA build"
    if not sys.platform.startswith("linux"):
        return "libraries are preloaded on Linux only"
    if shutil.which("gcc") is None:
        return "there is no gcc"
    return "" if _cuda_headers() else "the package nvidia-cuda-runtime, with CUDA's headers, is not installed"


def build_null_device(folder: Path) -> dict[str, str]:
    """Compile the device into a folder -> the environment in which a Python program finds it as its GPU."""
    runtime = folder / "libnull_cuda.so"
    sources = [path for path in sorted(SOURCES.glob("*.c")) if path.name != DRIVER]
    _compile(sources, runtime, "-lpthread")
    _compile([SOURCES / DRIVER], folder / "libcuda.so.1")
    return {
        "LD_PRELOAD": str(runtime),
        "LD_LIBRARY_PATH": os.pathsep.join([str(folder), os.environ.get("LD_LIBRARY_PATH", "")]),
        "NULL_CUDA_DEVICES": "1",
        "OMP_NUM_THREADS": "1",
    }


def _compile(sources: list[Path], library: Path, *options: str) -> None:
    # Functions without a prototype, and unused arguments, are meant: no warnings.
    command = ["gcc", "-std=gnu11", "-shared", "-fPIC", "-O1", "-w", "-I", SOURCES / "include", "-I", _cuda_headers()]
    subprocess.run([*command, "-o", library, *sources, *options], check=True)


def _cuda_headers() -> Path | None:
    """The folder of cuda_runtime_api.h in the packages that PyTorch depends on."""
    spec = importlib.util.find_spec("nvidia")
    roots = [Path(root) for root in spec.submodule_search_locations or []] if spec else []
    return next((path.parent for root in roots for path in sorted(root.rglob("cuda_runtime_api.h"))), None)


def run_on_null_device(environment: dict[str, str], program: Path, *arguments: str) -> str:
    """Run a program of this folder on the device -> what it prints. An error shows its stderr."""
    done = start_on_null_device(environment, program, *arguments, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{program.name} ended with exit code {done.returncode}; its error is above")
    return done.stdout


def start_on_null_device(
    environment: dict[str, str], program: Path, *arguments: str, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run any program, with options of `subprocess.run`; every_process/ prepares it and the processes it starts."""
    roots = [Path(segvit.__file__).parents[1], Path(segvit.__file__).parents[1] / "benchmarks", SOURCES.parent]
    if program.resolve().parent != SOURCES.parent:
        roots.append(SOURCES.parent / "every_process")
    path = os.pathsep.join([*map(str, roots), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "ignore", program, *arguments]
    return subprocess.run(command, env={**os.environ, **environment, "PYTHONPATH": path}, check=False, **options)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(
            start_on_null_device(build_null_device(Path(folder)), *map(Path, sys.argv[1:2]), *sys.argv[2:]).returncode
        )
