"""Models as files that other programs run: torch.export, ONNX and TorchScript."""

from segvit.export.agreement import Agreement, ExportError, require_agreement
from segvit.export.formats import FORMATS, ImageSize
from segvit.export.pictures import Comparison, compare_on_pictures, read_pictures
from segvit.export.source import ExportSource, load_source

__all__ = [
    "FORMATS",
    "Agreement",
    "Comparison",
    "ExportError",
    "ExportSource",
    "ImageSize",
    "compare_on_pictures",
    "load_source",
    "read_pictures",
    "require_agreement",
]
