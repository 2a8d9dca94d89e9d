"""`convert_to_openvino`: an exported ONNX file as an OpenVINO file, in float32 or a lower precision.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from segvit.errors import UserError
from segvit.export.low_precision import float_products
from segvit.exported.files import RT_INFO, import_openvino


def convert_to_openvino(
    source: Path, target: Path, metadata: dict[str, str], *, precision: str, images: Sequence[torch.Tensor]
) -> None:
    """Write an OpenVINO .xml file, with its weights in a .bin file beside it, from an ONNX file in float32.

    "bfloat16" keeps float32 weights, which are cast when the file is opened; "float16" weights are stored in half the
    bytes, and computed with in float32 on a CPU.
    """
    openvino = import_openvino("--format openvino")
    model = openvino.convert_model(source)
    if precision == "int8":
        import onnx

        model = _quantize(model, images, float_products(onnx.load(source, load_external_data=False).graph))
    model.set_rt_info(json.dumps({**metadata, "precision": json.dumps(precision)}), RT_INFO)
    openvino.save_model(model, target, compress_to_fp16=precision == "float16")


def _quantize(model: Any, images: Sequence[torch.Tensor], ignored: Sequence[str]) -> Any:
    """By NNCF; the products named `ignored` stay in float32."""
    try:
        import nncf
    except ImportError as error:
        raise UserError(
            "--precision int8 --format openvino: NNCF is not installed: pip install nncf, or the extra [openvino]"
        ) from error
    return nncf.quantize(
        model,
        nncf.Dataset([image.numpy() for image in images]),
        subset_size=len(images),
        model_type=nncf.ModelType.TRANSFORMER,
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=list(ignored), validate=False),
    )
