"""`ImageAnalyzer`: segments uploaded images one at a time.

Shape shorthand: H x W pixels, K classes.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

import numpy as np

from segvit.inference import SegViTPredictor
from segvit.inference.inspect_image import ModelView, inspect_pixels
from segvit.web.limits import Upload, UploadLimits
from segvit.web.uploads import read_upload

WARM_UP_SIDE = 64


@dataclass(frozen=True)
class ClassArea:
    """A class id and the fraction of the pixels with this label, above 0 and up to 1."""

    index: int
    fraction: float


@dataclass(frozen=True)
class Analysis:
    """An uploaded image and the model's view of it."""

    upload: Upload
    view: ModelView

    @property
    def labels(self) -> np.ndarray:
        return self.view.labels

    @property
    def drops_tokens(self) -> bool:
        return not self.view.kept.all()


def class_areas(labels: np.ndarray) -> list[ClassArea]:
    """The classes of a label map (H, W), largest first."""
    counts = np.bincount(labels.ravel())
    largest_first = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index]]
    return [ClassArea(index=index, fraction=float(counts[index] / labels.size)) for index in largest_first]


class ImageAnalyzer:
    """Segments image files, one at a time.

    Args:
        predictor: must not use windows or test-time augmentation, since masks and kept tokens are those of a whole
            image.
        limits: on the files. They also bound the time of the model, whose input has at most `work_megapixels`.
    """

    def __init__(self, predictor: SegViTPredictor, *, limits: UploadLimits) -> None:
        self.predictor = predictor
        self.limits = limits
        # `inspect_image` is not thread-safe.
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Segment a black image, so that an unsuitable model fails at the start and the first visitor does not wait.

        Raises:
            UserError: for a model without class queries.
        """
        images = self.predictor.image_format
        black = np.zeros((WARM_UP_SIDE, WARM_UP_SIDE, images.channels), dtype=images.dtype)
        inspect_pixels(self.predictor, black)

    def __call__(self, path: str | os.PathLike[str]) -> Analysis:
        """Segment an image file.

        Raises:
            UserError: for a file that `read_upload` refuses.
        """
        upload = read_upload(path, self.limits, self.predictor.image_format)
        with self._lock:
            view = inspect_pixels(self.predictor, upload.pixels)
        return Analysis(upload=upload, view=view)
