"""Models as files that other programs run: torch.export, ONNX and TorchScript."""

from segvit.export.agreement import Agreement, ExportError, require_agreement
from segvit.export.formats import FORMATS, ImageSize
from segvit.export.source import ExportSource, load_source

__all__ = ["FORMATS", "Agreement", "ExportError", "ExportSource", "ImageSize", "load_source", "require_agreement"]
