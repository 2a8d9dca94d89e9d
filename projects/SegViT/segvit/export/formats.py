"""`FORMATS`: the file formats of exports, each with a writer and a reader.

Shape shorthand: B images, C channels, H x W pixels, P patch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from segvit.export.exportable_segmenter import ExportableSegmenter
from segvit.export.low_precision import write_onnx_precision
from segvit.export.onnx_gelu import TRANSLATIONS
from segvit.export.openvino_files import convert_to_openvino
from segvit.exported.files import Runner, open_onnx, open_openvino

# Largest height and width of a dynamic graph.
LONGEST_SIDE = 16384

ONNX_OPSET = 18


@dataclass(frozen=True)
class ImageSize:
    """The images that an exported file accepts.

    Attributes:
        height, width: of every image; if `is_dynamic`, of the example that the graph is traced with.
        is_dynamic: accept any size from `smallest` to `LONGEST_SIDE` pixels on each side.
        patch_size: P.
        channels, dtype: of the images; uint8 or float32.
        has_cells: the model makes tokens of cells of 2 x 2 patches.
    """

    height: int
    width: int
    is_dynamic: bool
    patch_size: int
    channels: int = 3
    dtype: torch.dtype = torch.uint8
    has_cells: bool = False

    @property
    def smallest(self) -> int:
        """Smallest height and width of a dynamic graph: one pixel more than two patches; than three, with cells.

        Exporters treat a grid of a single cell as a special case, also after a reduction by two, which rounds up, and
        of whole cells of two.
        """
        return (3 if self.has_cells else 2) * self.patch_size + 1

    def example(self) -> torch.Tensor:
        """(2, C, H, W); two, because exporters take a batch of one for a constant."""
        size = (self.height, self.width)
        if self.is_dynamic:
            # Another size than the positions were trained for: tracing would otherwise skip their interpolation.
            size = (self.height + 2 * self.patch_size - 3, self.width + 3 * self.patch_size - 2)
        generator = torch.Generator().manual_seed(0)
        return torch.randint(256, (2, self.channels, *size), generator=generator).to(self.dtype)

    def dynamic_dimensions(self) -> dict[str, dict[int, Any]]:
        """The `dynamic_shapes` of `torch.export.export`."""
        dimensions = {0: torch.export.Dim("batch")}
        if self.is_dynamic:
            dimensions[2] = torch.export.Dim("height", min=self.smallest, max=LONGEST_SIDE)
            dimensions[3] = torch.export.Dim("width", min=self.smallest, max=LONGEST_SIDE)
        return {"images": dimensions}


@torch.no_grad()
def _exported(segmenter: ExportableSegmenter, size: ImageSize) -> torch.export.ExportedProgram:
    return torch.export.export(segmenter, (size.example(),), dynamic_shapes=size.dynamic_dimensions(), strict=False)


def write_torch_export(segmenter: ExportableSegmenter, size: ImageSize, metadata: dict[str, str], path: Path) -> None:
    """Write a `.pt2` file for `torch.export.load`, with the metadata as `extra_files`."""
    torch.export.save(_exported(segmenter, size), path, extra_files=dict(metadata))


def read_torch_export(path: Path) -> Runner:
    """Load the file to be run."""
    with warnings.catch_warnings():
        # PyTorch warns of its own buffer, which it reads only.
        warnings.filterwarnings("ignore", message="The given buffer is not writable", category=UserWarning)
        return torch.export.load(path).module()


def write_onnx(segmenter: ExportableSegmenter, size: ImageSize, metadata: dict[str, str], path: Path) -> None:
    """Write an `.onnx` file that contains the weights; input "images", output "labels" or "scores"."""
    import onnx  # only this format needs the extra [export]

    output = "labels" if segmenter.gives_labels else "scores"
    exported = _exported(segmenter, size)
    with warnings.catch_warnings():
        # PyTorch warns of a class that its own exporter uses.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        program = torch.onnx.export(
            exported,
            (),
            input_names=["images"],
            output_names=[output],
            opset_version=ONNX_OPSET,
            dynamo=True,
            verbose=False,
            custom_translation_table=dict(TRANSLATIONS),
        )
    assert program is not None  # with dynamo=True
    proto = program.model_proto
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, path)


def read_onnx(path: Path) -> Runner:
    """Load the file to be run by onnxruntime on the CPU."""
    return open_onnx(path).run


def write_openvino(segmenter: ExportableSegmenter, size: ImageSize, metadata: dict[str, str], path: Path) -> None:
    """Write an OpenVINO `.xml` file, by way of ONNX, and its weights as the `.bin` file beside it."""
    write_precision(segmenter, size, metadata, path, precision="float32")


def read_openvino(path: Path) -> Runner:
    """Load the file to be run by OpenVINO on the CPU."""
    return open_openvino(path).run


def write_precision(
    segmenter: ExportableSegmenter,
    size: ImageSize,
    metadata: dict[str, str],
    path: Path,
    *,
    precision: str,
    images: Sequence[torch.Tensor] = (),
) -> None:
    """Write an `.onnx` file in a lower precision, or an OpenVINO `.xml` file in any.

    Args:
        precision: see `PRECISIONS`.
        images: (1, 3, H, W) uint8 each, on which 8-bit integers are calibrated.
    """
    with TemporaryDirectory() as folder:
        source = Path(folder, "model.onnx")
        write_onnx(segmenter, size, metadata, source)
        write = convert_to_openvino if path.suffix == ".xml" else write_onnx_precision
        write(source, path, metadata, precision=precision, images=images)


@torch.no_grad()
def write_torchscript(segmenter: ExportableSegmenter, size: ImageSize, metadata: dict[str, str], path: Path) -> None:
    """Write a `.pt` file for `torch.jit.load`, with the metadata as `_extra_files`."""
    with warnings.catch_warnings():
        # Tracing warns of every comparison of sizes; `require_agreement` finds those that matter.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(segmenter, size.example(), check_trace=False)
        torch.jit.save(traced, path, _extra_files=dict(metadata))


def read_torchscript(path: Path) -> Runner:
    """Load the file to be run."""
    return torch.jit.load(path)


@dataclass(frozen=True)
class Format:
    """A file format: its writer, its reader and the extension of its files."""

    write: Callable[[ExportableSegmenter, ImageSize, dict[str, str], Path], None]
    read: Callable[[Path], Runner]
    extension: str


FORMATS = {
    "openvino": Format(write_openvino, read_openvino, ".xml"),
    "torch_export": Format(write_torch_export, read_torch_export, ".pt2"),
    "onnx": Format(write_onnx, read_onnx, ".onnx"),
    "torchscript": Format(write_torchscript, read_torchscript, ".pt"),
}
