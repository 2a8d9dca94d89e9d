"""`compare_on_images`: an exported file and its model on given images, their results and their times.

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

from segvit.analysis import TimingSummary, spread_text, summarize, time_rounds
from segvit.d2 import SegViT
from segvit.data.augmentation import build_test_augmentations
from segvit.data.label_reading import read_label_map
from segvit.errors import UserError
from segvit.evaluation.metrics import confusion_matrix, segmentation_metrics
from segvit.export.agreement import FLOAT32, Agreement, Limits, require_agreement_on
from segvit.export.formats import ImageSize, Runner
from segvit.exported.exported_model import labels_at
from segvit.images import image_format_of

# Times that spread by more than this fraction of their median are no measurement.
BUSY = 0.5


@dataclass(frozen=True)
class Comparison:
    """Agreement and times of a file and its model.

    Attributes:
        agreement: the labels of the worst image, and the largest difference of a score.
        num_images: how many were compared.
        model, file: time per image; the file's ratio is to the model.
    """

    agreement: Agreement
    num_images: int
    model: TimingSummary
    file: TimingSummary

    def describe(self) -> str:
        """One line."""
        times = f"{self.file['median_ms']:.1f} ms against {self.model['median_ms']:.1f} ms of the model"
        if self.file["spread"] is None or self.model["spread"] is None:
            ratio = "too few for a ratio: use more --rounds or --images"
        elif max(self.file["spread"], self.model["spread"]) > BUSY:
            ratio = "too different for a ratio, on a busy machine"
        else:
            ratio = f"ratio {self.file['ratio']:.2f}"
        spreads = f"spreads {spread_text(self.file)} and {spread_text(self.model)}"
        return f"{self.num_images} images: {self.agreement.describe()}; {times}, {ratio}, {spreads}"


def read_images(paths: Iterable[Path], cfg: CfgNode, size: ImageSize) -> list[torch.Tensor]:
    """Read and resize images: (1, C, H, W) each, at the test size, or at the only size of a static file.

    Raises:
        OSError, ValueError: if a file is not an image, or is smaller than an exported graph takes.
    """
    (test_resize,) = build_test_augmentations(cfg)
    augmentation = test_resize if size.is_dynamic else T.Resize((size.height, size.width))
    images = []
    for path in paths:
        pixels = image_format_of(cfg).read(path)
        pixels = augmentation.get_transform(pixels).apply_image(pixels)
        if size.is_dynamic and min(pixels.shape[:2]) < size.smallest:
            raise UserError(
                f"{path}: {pixels.shape[0]} x {pixels.shape[1]} pixels at the test size are too few: exported graphs "
                f"take at least {size.smallest} in both directions"
            )
        images.append(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None])
    return images


@torch.inference_mode()
def compare_on_images(
    run: Runner, model: SegViT, images: Sequence[torch.Tensor], *, rounds: int, limits: Limits = FLOAT32
) -> Comparison:
    """Compare and time both on each image, alternately, on the CPU; the model returns labels if the file does.

    Args:
        run: runs the file.
        model: the meta-architecture, returning scores.
        images: (1, C, H, W) each, at least one.
        rounds: timed rounds over all images.
        limits: how much they may differ.

    Raises:
        ExportError: if they differ by more.
    """
    agreement = require_agreement_on(images, run, model, limits=limits)
    timed_model = copy.copy(model)  # shares its modules; only the kind of its results differs
    timed_model.labels_only = agreement.scores is None
    model_images = cycle(images)
    file_images = cycle(images)
    calls = {
        "model": lambda: timed_model([{"image": next(model_images)[0]}]),
        "file": lambda: run(next(file_images)),
    }
    timings = summarize(time_rounds(calls, rounds=rounds * len(images), warmup=len(images), progress=True))
    return Comparison(agreement, len(images), timings["model"], timings["file"])


def label_maps(images: Sequence[Path], folder: Path | None) -> list[Path]:
    """The label map of each image in the folder of --labels. Raises UserError if an image has none."""
    truths = [] if folder is None else [folder / f"{path.stem}.png" for path in images]
    missing = [path for path in truths if not path.is_file()]
    if missing:
        raise UserError(f"--labels: no such file: {missing[0]}")
    return truths


@torch.inference_mode()
def mean_iou(score: Runner, images: Sequence[torch.Tensor], truths: Sequence[Path], cfg: CfgNode) -> float:
    """The mIoU, in per cent, of labels at the sizes of the true label maps.

    Args:
        score: images (1, 3, H, W) uint8 to scores (1, K, H, W) or labels (1, H, W).
        images: (1, 3, H, W) each.
        truths: the label map of each image.
        cfg: gives the number of classes and the ignored label.
    """
    head = cfg.MODEL.SEM_SEG_HEAD
    matrix = torch.zeros(head.NUM_CLASSES, head.NUM_CLASSES, dtype=torch.int64)
    for image, path in zip(images, truths, strict=True):
        truth = torch.from_numpy(read_label_map(path).astype(np.int64))
        truth[truth >= head.NUM_CLASSES] = head.IGNORE_VALUE
        (result,) = score(image)
        labels = labels_at(result, (truth.shape[0], truth.shape[1]))
        matrix += confusion_matrix(labels, truth, head.NUM_CLASSES, head.IGNORE_VALUE)
    return segmentation_metrics(matrix.numpy(), [])["mIoU"]
