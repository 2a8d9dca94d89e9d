"""`open_exported`: an exported file, ready to run on the CPU, with the metadata that it carries.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segvit.errors import UserError
from segvit.modeling.postprocessing.image_sizes import Size

# Runs a file: images (B, 3, H, W) uint8 to scores (B, K, H, W) or labels (B, H, W).
Runner = Callable[[torch.Tensor], torch.Tensor]

# The entry of OpenVINO's `rt_info` that holds the metadata.
RT_INFO = "segvit"


@dataclass(frozen=True)
class ExportedFile:
    """An exported file.

    Attributes:
        path: of the file.
        run: runs it; several threads may call it.
        metadata: by name, see docs/export.md.
        fixed_size: (H, W) of a file that takes images of one size; None for any size.
    """

    path: Path
    run: Runner
    metadata: Mapping[str, Any]
    fixed_size: Size | None


def is_exported(path: object) -> bool:
    """Whether a path names a file that `open_exported` reads."""
    return isinstance(path, str | os.PathLike) and Path(path).suffix.lower() in READERS and not Path(path).is_dir()


def open_exported(path: str | os.PathLike[str]) -> ExportedFile:
    """Open an .onnx file, or an OpenVINO .xml file with its .bin file beside it.

    Raises:
        UserError: the file is missing or damaged, was not written by export_model.py, or its runtime is not installed.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    opened = READERS[file.suffix.lower()](file)
    if "class_names" not in opened.metadata:
        raise UserError(f"{file} carries no class names: only files that export_model.py wrote can be read")
    return opened


def open_onnx(path: Path) -> ExportedFile:
    """An ONNX file in onnxruntime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"{path}: onnxruntime is not installed: pip install onnxruntime, or the extra [export]"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base
        raise UserError(f"{path}: onnxruntime cannot read the file: {error}") from error
    height, width = session.get_inputs()[0].shape[2:]

    def run(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return ExportedFile(
        path=path,
        run=run,
        metadata=_parsed(session.get_modelmeta().custom_metadata_map),
        fixed_size=(height, width) if isinstance(height, int) and isinstance(width, int) else None,
    )


def open_openvino(path: Path) -> ExportedFile:
    """An OpenVINO file, with the number formats that it was written for."""
    openvino = import_openvino(str(path))
    core = openvino.Core()
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise UserError(f"{path}: OpenVINO cannot read the file, or its .bin file is missing: {error}") from error
    entries = model.get_rt_info()
    metadata = _parsed(json.loads(str(entries[RT_INFO].value)) if RT_INFO in entries else {})
    precision = "bf16" if metadata.get("precision") == "bfloat16" else "f32"
    compiled = core.compile_model(
        model, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": precision}
    )
    shape = model.input(0).partial_shape

    def run(images: torch.Tensor) -> torch.Tensor:
        # A request of its own: one request serves one thread.
        return torch.from_numpy(compiled.create_infer_request().infer([images.numpy()])[0].copy())

    is_fixed = shape[2].is_static and shape[3].is_static
    fixed_size = (shape[2].get_length(), shape[3].get_length()) if is_fixed else None
    return ExportedFile(path=path, run=run, metadata=metadata, fixed_size=fixed_size)


def import_openvino(purpose: str) -> Any:
    """The module. Raises UserError, which begins with the purpose, if it is not installed."""
    try:
        import openvino
    except ImportError as error:
        raise UserError(
            f"{purpose}: OpenVINO is not installed: pip install openvino, or the extra [openvino]"
        ) from error
    return openvino


def _parsed(entries: Mapping[str, str]) -> dict[str, Any]:
    """Name -> value of name -> JSON; other entries of the map are left out."""
    values = {}
    for name, text in entries.items():
        try:
            values[name] = json.loads(text)
        except ValueError:  # of another program
            continue
    return values


READERS: Mapping[str, Callable[[Path], ExportedFile]] = {".onnx": open_onnx, ".xml": open_openvino}
