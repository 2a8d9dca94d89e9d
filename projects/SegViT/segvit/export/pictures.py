"""An exported file against its model on given pictures: what they give, and how long they take.

Shape shorthand: H x W pixels, as the model reads them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from torch import nn

from segvit.analysis import TimingSummary, summarize, time_rounds
from segvit.data.augmentation import build_test_augmentations
from segvit.errors import UserError
from segvit.export.agreement import Agreement, require_agreement_on
from segvit.export.formats import ImageSize, Runner
from segvit.inference.images import load_image


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        agreement: the labels of the worst picture, and the largest difference of a score.
        pictures: how many there were.
        model, file: the time that one picture takes; the file's ratio is to the model.
    """

    agreement: Agreement
    pictures: int
    model: TimingSummary
    file: TimingSummary

    def describe(self) -> str:
        """One line."""
        times = f"{self.file['median_ms']:.1f} ms against {self.model['median_ms']:.1f} ms of the model"
        spreads = f"spreads {self.file['spread']:.0%} and {self.model['spread']:.0%}"
        return (
            f"{self.pictures} pictures: {self.agreement.describe()}; {times}, ratio {self.file['ratio']:.2f}, {spreads}"
        )


def read_pictures(paths: Iterable[Path], cfg: CfgNode, size: ImageSize) -> list[torch.Tensor]:
    """(1, 3, H, W) uint8 each: at the test size of the config or, for a file of one size, at that.

    Raises:
        OSError, ValueError: where a file is no picture, or smaller than an exported graph takes.
    """
    one_size, (test_size,) = T.Resize((size.height, size.width)), build_test_augmentations(cfg)
    augmentation, pictures = test_size if size.is_dynamic else one_size, []
    for path in paths:
        pixels = load_image(path, format=cfg.INPUT.FORMAT)
        pixels = augmentation.get_transform(pixels).apply_image(pixels)
        if size.is_dynamic and min(pixels.shape[:2]) < size.smallest:
            raise UserError(
                f"{path}: {pixels.shape[0]} x {pixels.shape[1]} pixels at the test size are too few: give pictures of "
                f"at least {size.smallest} in both directions"
            )
        pictures.append(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None])
    return pictures


@torch.inference_mode()
def compare_on_pictures(run: Runner, model: nn.Module, pictures: Sequence[torch.Tensor], *, rounds: int) -> Comparison:
    """Both on each picture, by turns, on the CPU; the model gives labels where the file does.

    Args:
        run: runs the file.
        model: the meta-architecture, giving scores.
        pictures: at least one of (1, 3, H, W).
        rounds: how often each picture is timed.

    Raises:
        ExportError: where they differ beyond the bars.
    """
    agreement = require_agreement_on(pictures, run, model)
    counterpart = copy.copy(model)  # shares the parts: only what it gives is another
    counterpart.labels_only = agreement.scores is None
    ours, theirs = cycle(pictures), cycle(pictures)
    calls = {"model": lambda: counterpart([{"image": next(ours)[0]}]), "file": lambda: run(next(theirs))}
    timings = summarize(time_rounds(calls, rounds=rounds * len(pictures), warmup=len(pictures), progress=True))
    return Comparison(agreement, len(pictures), timings["model"], timings["file"])
