"""Export of trained models to torch.export, ONNX and TorchScript files."""

from segvit.export.agreement import Agreement, ExportError, require_agreement
from segvit.export.formats import FORMATS, ImageSize
from segvit.export.image_comparison import Comparison, compare_on_images, read_images
from segvit.export.source import ExportSource, load_source

__all__ = [
    "FORMATS",
    "Agreement",
    "Comparison",
    "ExportError",
    "ExportSource",
    "ImageSize",
    "compare_on_images",
    "load_source",
    "read_images",
    "require_agreement",
]
