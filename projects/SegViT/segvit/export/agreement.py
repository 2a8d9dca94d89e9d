"""Whether an exported file gives what the model gives, on images that the export never saw.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from segvit.errors import UserError
from segvit.export.formats import ImageSize, Runner

LABELS_BAR = 0.999  # share of pixels
SCORES_BAR = 1e-4  # largest absolute difference


class ExportError(UserError):
    """An export that cannot be made, or does not agree with its model."""


@dataclass(frozen=True)
class Agreement:
    """What was found.

    Attributes:
        labels: share of the pixels with equal labels, the worst of all batches.
        scores: largest difference of a score; None where the file gives labels.
        batches: (B, H, W) of each.
    """

    labels: float
    scores: float | None
    batches: list[tuple[int, int, int]]

    def describe(self) -> str:
        """One line."""
        scores = "" if self.scores is None else f", scores within {self.scores:.1e}"
        sizes = ", ".join(f"{batch} x {height} x {width}" for batch, height, width in dict.fromkeys(self.batches))
        return f"labels agree on {self.labels:.4%} of the pixels{scores} (images: {sizes})"


def require_agreement(run: Runner, model: nn.Module, size: ImageSize) -> Agreement:
    """Compare a file with its model in eager mode, over batch sizes and, where they are dynamic, image sizes.

    Args:
        run: runs the file.
        model: the meta-architecture, which gives scores of whole images.
        size: what the file was made for.

    Raises:
        ExportError: where they differ beyond the bars, or the file does not run.
    """
    remedy = "; --static exports it for one size of images" if size.is_dynamic else ""
    return require_agreement_on(map(fresh_images, batch_sizes(size)), run, model, remedy=remedy)


def require_agreement_on(
    batches: Iterable[torch.Tensor], run: Runner, model: nn.Module, *, remedy: str = ""
) -> Agreement:
    """Likewise on given images, each batch (B, 3, H, W) uint8; `remedy` ends the message of the error."""
    found = [(tuple(images[:, 0].shape), *_compare(run, model, images)) for images in batches]
    sizes, labels, scores = zip(*found, strict=True)
    agreement = Agreement(min(labels), max((one for one in scores if one is not None), default=None), list(sizes))
    if agreement.labels < LABELS_BAR or (agreement.scores is not None and not agreement.scores <= SCORES_BAR):
        raise ExportError(
            f"the exported file does not agree with the model: {agreement.describe()}; wanted are {LABELS_BAR:.1%} and "
            f"{SCORES_BAR:.0e}{remedy}"
        )
    return agreement


def batch_sizes(size: ImageSize) -> Iterator[tuple[int, int, int]]:
    """Another batch size than the exporter saw and, for dynamic graphs, the trained, odd, turned and least sizes."""
    height, width, patch = size.height, size.width, size.patch_size
    yield 1, height, width
    yield 3, height, width
    if size.is_dynamic:
        yield 1, height + 1, width + patch - 1
        yield 2, width, height
        yield 1, size.smallest, size.smallest


def fresh_images(batch: tuple[int, int, int]) -> torch.Tensor:
    """(B, 3, H, W) uint8: smooth patches of colour with a little noise."""
    count, height, width = batch
    generator = torch.Generator().manual_seed(count * height + width)
    coarse = torch.rand(count, 3, 6, 8, generator=generator) * 255
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return (smooth + 10 * torch.randn(smooth.shape, generator=generator)).clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def _compare(run: Runner, model: nn.Module, images: torch.Tensor) -> tuple[float, float | None]:
    expected = torch.stack([result["sem_seg"] for result in model([{"image": image} for image in images])])
    given = _run(run, images)
    if given.dtype == torch.int64:
        return (given == expected.argmax(dim=1)).float().mean().item(), None
    difference = (given - expected).abs().max().item() if given.shape == expected.shape else float("inf")
    return (given.argmax(dim=1) == expected.argmax(dim=1)).float().mean().item(), difference


def _run(run: Runner, images: torch.Tensor) -> torch.Tensor:
    try:
        return run(images)
    except Exception as error:  # every runtime has types of its own; those of onnxruntime have no common one
        raise ExportError(f"the exported file does not run on fresh images: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
