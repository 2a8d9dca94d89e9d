"""What the page knows of a picture once the model has seen it.

Shape shorthand: H x W pixels, K classes.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

import numpy as np

from segvit.errors import UserError
from segvit.inference import SegViTPredictor
from segvit.inference.inspect_image import Inspection, inspect_image
from segvit.web.time_limit import time_limit, watch
from segvit.web.uploads import Upload, UploadLimits, read_upload

REHEARSAL_SIDE = 64


@dataclass(frozen=True)
class ClassArea:
    """A class that was found: its id, and its share of the pixels, above 0 and up to 1."""

    index: int
    share: float


@dataclass(frozen=True)
class Analysis:
    """A picture, and what the model made of it, in one pass."""

    upload: Upload
    inspection: Inspection

    @property
    def labels(self) -> np.ndarray:
        return self.inspection.labels

    @property
    def drops_tokens(self) -> bool:
        return not self.inspection.kept.all()


def class_areas(labels: np.ndarray) -> list[ClassArea]:
    """The classes in a label map (H, W), the largest first."""
    counts = np.bincount(labels.ravel())
    order = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index]]
    return [ClassArea(index=index, share=float(counts[index] / labels.size)) for index in order]


class PictureAnalyst:
    """Segments uploads, one at a time, within limits.

    Args:
        predictor: with windows off: masks and kept tokens are those of a whole picture. Its model is watched from now
            on, see `time_limit`.
        limits: of the files.
        seconds: that the model may take for a picture.
    """

    def __init__(self, predictor: SegViTPredictor, *, limits: UploadLimits, seconds: float) -> None:
        self.predictor = predictor
        self.limits = limits
        self.seconds = seconds
        self._one_at_a_time = threading.Lock()  # an inspection hangs hooks into the model
        watch(predictor.model)

    def rehearse(self) -> None:
        """Segment a black picture: what does not work with this model shows at once, and visitors wait for no warm-up.

        Raises:
            UserError: where the model has no class queries.
        """
        inspect_image(self.predictor, np.zeros((REHEARSAL_SIDE, REHEARSAL_SIDE, 3), dtype=np.uint8))

    def __call__(self, path: str | os.PathLike[str]) -> Analysis:
        """Segment the picture in a file.

        Raises:
            UserError: where the file is refused, see `read_upload`, or the time did not suffice.
        """
        with self._one_at_a_time:
            upload = read_upload(path, self.limits)
            try:
                with time_limit(self.seconds):
                    inspection = inspect_image(self.predictor, upload.picture[:, :, ::-1])
            except TimeoutError as error:
                raise UserError(
                    f"the model needs more than {self.seconds:g} seconds for this picture: send a smaller one"
                ) from error
        return Analysis(upload=upload, inspection=inspection)
