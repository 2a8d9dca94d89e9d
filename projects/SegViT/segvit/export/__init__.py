"""Export of trained models to torch.export, ONNX and TorchScript files."""

from segvit.export.agreement import FLOAT32, RUNS, Agreement, ExportError, Limits, require_agreement
from segvit.export.formats import FORMATS, ImageSize, write_precision
from segvit.export.image_comparison import Comparison, compare_on_images, label_maps, mean_iou, read_images
from segvit.export.low_precision import PRECISIONS, require_precision
from segvit.export.source import ExportSource, load_source

__all__ = [
    "FLOAT32",
    "FORMATS",
    "PRECISIONS",
    "RUNS",
    "Agreement",
    "Comparison",
    "ExportError",
    "ExportSource",
    "ImageSize",
    "Limits",
    "compare_on_images",
    "label_maps",
    "load_source",
    "mean_iou",
    "read_images",
    "require_agreement",
    "require_precision",
    "write_precision",
]
