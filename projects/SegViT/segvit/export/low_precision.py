"""`write_onnx_precision`: an exported ONNX file in 8-bit integers or float16, and which format has which precision.

Shape shorthand: B images, H x W pixels.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from segvit.errors import UserError

# The formats that each precision can be written in. onnxruntime has no bfloat16 kernels for the CPU.
PRECISIONS = {
    "float32": ("onnx", "openvino", "torch_export", "torchscript"),
    "float16": ("onnx", "openvino"),
    "bfloat16": ("openvino",),
    "int8": ("onnx", "openvino"),
}
# The module whose products with weights become 8-bit integers. The decoder stays in float32: its products are few, and
# the masks are similarities of queries and tokens, whose sign decides.
QUANTIZED = "model.encoder"
SCOPES = "pkg.torch.onnx.name_scopes"


def require_precision(precision: str, format: str, images: Sequence[torch.Tensor]) -> None:
    """Raise UserError if the format has no such precision, or 8-bit integers have no images to be calibrated on."""
    if format not in PRECISIONS[precision]:
        raise UserError(f"--precision {precision}: --format must be {' or '.join(PRECISIONS[precision])}, not {format}")
    if precision == "int8" and not images:
        raise UserError("--precision int8 needs --calibration-images: some dozens of training images, or their folder")


def write_onnx_precision(
    source: Path, target: Path, metadata: dict[str, str], *, precision: str, images: Sequence[torch.Tensor]
) -> None:
    """Write an ONNX file in a lower precision.

    Args:
        source: in float32.
        target: the file to write.
        metadata: of the file.
        precision: "int8" or "float16".
        images: (1, 3, H, W) uint8 each, on which the ranges of activations are measured.
    """
    import onnx

    if precision == "int8":
        _quantize_onnx(source, target, images)
        proto = onnx.load(target)
    else:
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

        # Of the sums of merged tokens, onnxruntime has no kernel in float16.
        blocked = [*DEFAULT_OP_BLOCK_LIST, "ScatterElements"]
        proto = convert_float_to_float16(onnx.load(source), keep_io_types=True, op_block_list=blocked)
    onnx.helper.set_model_props(proto, {**metadata, "precision": json.dumps(precision)})
    onnx.save(proto, target)


def _quantize_onnx(source: Path, target: Path, images: Sequence[torch.Tensor]) -> None:
    """Static quantization: weights per channel, activations per tensor."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):
        """Feeds the images one by one."""

        def __init__(self) -> None:
            self.images: Iterator[torch.Tensor] = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.images, None)
            return None if image is None else {"images": image.numpy()}

    nodes = quantized_nodes(onnx.load(source, load_external_data=False).graph)
    logging.disable(logging.WARNING)  # onnxruntime advises a step that needs fixed sizes
    try:
        quantize_static(
            source,
            target,
            Images(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=nodes,
            op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        )
    finally:
        logging.disable(logging.NOTSET)


def quantized_nodes(graph: Any) -> list[str]:
    """Names of the products and convolutions of the encoder with weights; those of two activations stay in float32."""
    weights = {tensor.name for tensor in graph.initializer}
    return [node.name for node in products(graph) if weights.intersection(node.input) and _is_quantized(node)]


def float_products(graph: Any) -> list[str]:
    """Names, and names of the results, of the products and convolutions outside the encoder."""
    nodes = [node for node in products(graph) if not _is_quantized(node)]
    return [name for node in nodes for name in (node.name, node.output[0])]


def products(graph: Any) -> list[Any]:
    """The products and convolutions of an ONNX graph."""
    return [node for node in graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]


def _is_quantized(node: Any) -> bool:
    return any(QUANTIZED in entry.value for entry in node.metadata_props if entry.key == SCOPES)
