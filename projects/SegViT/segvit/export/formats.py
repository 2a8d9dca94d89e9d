"""One entry per file format: how a graph is written, and how such a file is run.

Shape shorthand: B images, H x W pixels, P patch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from segvit.export.exportable_segmenter import ExportableSegmenter

Runner = Callable[[torch.Tensor], torch.Tensor]
LONGEST_SIDE = 16384
ONNX_OPSET = 18


@dataclass(frozen=True)
class ImageSize:
    """Which images a file takes.

    Attributes:
        height, width: of all images, or with `is_dynamic` of those that the graph is made with.
        is_dynamic: any size from `smallest` to 16384 pixels on each side.
        patch_size: P.
    """

    height: int
    width: int
    is_dynamic: bool
    patch_size: int

    @property
    def smallest(self) -> int:
        """The least height and width of a dynamic graph, a row and column beyond two patches: a grid of one cell in a
        direction, also behind a reduction by two, is a special case to an exporter."""
        return 2 * self.patch_size + 1

    def example(self) -> torch.Tensor:
        """(2, 3, H, W) uint8: two, as an exporter takes a batch of one for a constant."""
        size = (self.height, self.width)
        if self.is_dynamic:  # not the size that positions were trained for, which tracing would take for granted
            size = (self.height + 2 * self.patch_size - 3, self.width + 3 * self.patch_size - 2)
        return torch.randint(256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def dynamic_dimensions(self) -> dict[str, dict[int, object]]:
        """What `torch.export` is told."""
        dimensions: dict[int, object] = {0: torch.export.Dim("batch")}
        if self.is_dynamic:
            bounds = {"min": self.smallest, "max": LONGEST_SIDE}
            dimensions |= {2: torch.export.Dim("height", **bounds), 3: torch.export.Dim("width", **bounds)}
        return {"images": dimensions}


@torch.no_grad()
def _exported(segmenter: ExportableSegmenter, size: ImageSize) -> torch.export.ExportedProgram:
    return torch.export.export(segmenter, (size.example(),), dynamic_shapes=size.dynamic_dimensions(), strict=False)


def write_torch_export(segmenter: ExportableSegmenter, size: ImageSize, metadata: dict[str, str], path: Path) -> None:
    """A `.pt2` file for `torch.export.load`, whose `extra_files` are the metadata."""
    torch.export.save(_exported(segmenter, size), path, extra_files=dict(metadata))


def read_torch_export(path: Path) -> Runner:
    return torch.export.load(path).module()


def write_onnx(segmenter: ExportableSegmenter, size: ImageSize, metadata: dict[str, str], path: Path) -> None:
    """An `.onnx` file with the weights inside; input "images", output "labels" or "scores"."""
    import onnx  # of the extra [export], which the other formats do without

    output = "labels" if segmenter.gives_labels else "scores"
    program = torch.onnx.export(
        _exported(segmenter, size),
        (),
        input_names=["images"],
        output_names=[output],
        opset_version=ONNX_OPSET,
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, path)


def read_onnx(path: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@torch.no_grad()
def write_torchscript(segmenter: ExportableSegmenter, size: ImageSize, metadata: dict[str, str], path: Path) -> None:
    """A `.pt` file for `torch.jit.load`, whose `_extra_files` are the metadata."""
    with warnings.catch_warnings():
        # Tracing warns of every comparison of sizes; whether they matter is what the check finds out.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(segmenter, size.example(), check_trace=False)
        torch.jit.save(traced, path, _extra_files=dict(metadata))


def read_torchscript(path: Path) -> Runner:
    return torch.jit.load(path)


@dataclass(frozen=True)
class Format:
    """How files of a format are written and run."""

    write: Callable[[ExportableSegmenter, ImageSize, dict[str, str], Path], None]
    read: Callable[[Path], Runner]
    extension: str


FORMATS = {
    "torch_export": Format(write_torch_export, read_torch_export, ".pt2"),
    "onnx": Format(write_onnx, read_onnx, ".onnx"),
    "torchscript": Format(write_torchscript, read_torchscript, ".pt"),
}
