"""`require_agreement`: compare an exported file with its model on images that the exporter never saw.

Shape shorthand: B images, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from segvit.d2 import SegViT
from segvit.errors import UserError
from segvit.export.formats import ImageSize, Runner


@dataclass(frozen=True)
class Limits:
    """What a file must reach.

    Attributes:
        labels: fraction of the pixels of each batch that must have the same label.
        scores: largest absolute difference of a score.
    """

    labels: float = 0.999
    scores: float = 1e-4


FLOAT32 = Limits()
# Of a file in a lower precision on generated images, which no model is sure of: it must run.
RUNS = Limits(labels=0.0, scores=math.inf)


class ExportError(UserError):
    """An export that fails, or whose file does not agree with its model."""


@dataclass(frozen=True)
class Agreement:
    """Result of a comparison.

    Attributes:
        labels: fraction of the pixels with equal labels, in the worst batch.
        scores: largest difference of a score; None for files that return labels.
        batches: (B, H, W) of each batch.
    """

    labels: float
    scores: float | None
    batches: list[tuple[int, int, int]]

    def describe(self) -> str:
        """One line."""
        scores = "" if self.scores is None else f", scores within {self.scores:.1e}"
        sizes = ", ".join(f"{batch} x {height} x {width}" for batch, height, width in dict.fromkeys(self.batches))
        return f"labels agree on {self.labels:.4%} of the pixels{scores} (images: {sizes})"


def require_agreement(run: Runner, model: SegViT, size: ImageSize, *, limits: Limits = FLOAT32) -> Agreement:
    """Compare a file with its model in eager mode, over batch sizes and, if they are dynamic, image sizes.

    Args:
        run: runs the file.
        model: the meta-architecture, returning scores of whole images.
        size: the image sizes that the file was exported for.
        limits: how much they may differ.

    Raises:
        ExportError: if they differ by more, or the file does not run.
    """
    remedy = "; --static exports it for one size of images" if size.is_dynamic else ""
    return require_agreement_on(
        (random_images(batch, model, size.dtype) for batch in batch_sizes(size)),
        run,
        model,
        limits=limits,
        remedy=remedy,
    )


def require_agreement_on(
    batches: Iterable[torch.Tensor], run: Runner, model: SegViT, *, limits: Limits = FLOAT32, remedy: str = ""
) -> Agreement:
    """`require_agreement` on given batches (B, C, H, W); `remedy` is appended to the error message."""
    sizes: list[tuple[int, int, int]] = []
    equal_labels: list[float] = []
    score_differences: list[float] = []
    for images in batches:
        labels, difference = _compare(run, model, images)
        sizes.append((len(images), images.shape[2], images.shape[3]))
        equal_labels.append(labels)
        if difference is not None:
            score_differences.append(difference)
    agreement = Agreement(min(equal_labels), max(score_differences, default=None), sizes)
    if agreement.labels < limits.labels or not (agreement.scores or 0.0) <= limits.scores:
        raise ExportError(
            f"the exported file does not agree with the model: {agreement.describe()}; required are "
            f"{limits.labels:.1%} and {limits.scores:.0e}{remedy}"
        )
    return agreement


def batch_sizes(size: ImageSize) -> Iterator[tuple[int, int, int]]:
    """(B, H, W) to compare on: batch sizes the exporter did not see and, for dynamic graphs, odd, transposed and the
    smallest images."""
    height, width, patch = size.height, size.width, size.patch_size
    yield 1, height, width
    yield 3, height, width
    if size.is_dynamic:
        yield 1, height + 1, width + patch - 1
        yield 2, width, height
        yield 1, size.smallest, size.smallest


def random_images(batch: tuple[int, int, int], model: SegViT, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    """(B, C, H, W): smooth patches of colour with a little noise, the same for the same size.

    Floating-point images have the mean and the standard deviation that the model expects.
    """
    count, height, width = batch
    generator = torch.Generator().manual_seed(count * height + width)
    coarse = torch.rand(count, len(model.pixel_mean), 6, 8, generator=generator) * 255
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    images = (smooth + 10 * torch.randn(smooth.shape, generator=generator)).clamp(0, 255)
    if dtype == torch.uint8:
        return images.to(torch.uint8)
    return ((images - 127.5) / 60 * model.pixel_std.cpu() + model.pixel_mean.cpu()).to(dtype)


@torch.no_grad()
def _compare(run: Runner, model: SegViT, images: torch.Tensor) -> tuple[float, float | None]:
    """Fraction of equal labels, and the largest difference of a score, None for a file that returns labels."""
    expected = torch.stack([result["sem_seg"] for result in model([{"image": image} for image in images])])
    actual = _run(run, images)
    if actual.dtype == torch.int64:
        return (actual == expected.argmax(dim=1)).float().mean().item(), None
    if actual.shape != expected.shape:
        raise ExportError(f"the exported file returns {tuple(actual.shape)} in place of {tuple(expected.shape)}")
    difference = (actual - expected).abs().nan_to_num(nan=math.inf).max().item()
    return (actual.argmax(dim=1) == expected.argmax(dim=1)).float().mean().item(), difference


def _run(run: Runner, images: torch.Tensor) -> torch.Tensor:
    try:
        return run(images)
    except Exception as error:  # each runtime raises other types, and onnxruntime's have no common base
        raise ExportError(f"the exported file does not run on fresh images: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
