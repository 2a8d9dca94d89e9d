"""`ImageAnalyzer`: segments uploaded images one at a time, within size and time limits.

Shape shorthand: H x W pixels, K classes.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

import numpy as np

from segvit.data.image_reading import max_level_of
from segvit.errors import UserError
from segvit.inference import SegViTPredictor
from segvit.inference.inspect_image import ModelView, inspect_image
from segvit.web.time_limit import check_deadline_in, time_limit
from segvit.web.uploads import Upload, UploadLimits, read_upload

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
            image. Its model checks the time limit from now on, see `check_deadline_in`.
        limits: on the files.
        seconds: the time limit of the model per image.
    """

    def __init__(self, predictor: SegViTPredictor, *, limits: UploadLimits, seconds: float) -> None:
        self.predictor = predictor
        self.limits = limits
        self.seconds = seconds
        # `inspect_image` is not thread-safe.
        self._lock = threading.Lock()
        check_deadline_in(predictor.model)

    def warm_up(self) -> None:
        """Segment a black image, so that an unsuitable model fails at the start and the first visitor does not wait.

        Raises:
            UserError: for a model without class queries.
        """
        inspect_image(self.predictor, np.zeros((WARM_UP_SIDE, WARM_UP_SIDE, 3), dtype=np.uint8))

    def __call__(self, path: str | os.PathLike[str]) -> Analysis:
        """Segment an image file.

        Raises:
            UserError: for a file that `read_upload` refuses, and when the time limit is exceeded.
        """
        with self._lock:
            upload = read_upload(path, self.limits, max_level=max_level_of(self.predictor.cfg))
            try:
                with time_limit(self.seconds):
                    view = inspect_image(self.predictor, upload.image[:, :, ::-1])
            except TimeoutError as error:
                raise UserError(
                    f"the model needs more than {self.seconds:g} seconds for this image: send a smaller one"
                ) from error
        return Analysis(upload=upload, view=view)
