"""A trained model, ready to segment pictures of any kind.

Shape shorthand in this module: H x W: pixels of a picture, h x w: those that the model reads, K: classes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from PIL import Image

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.config.device import require_device
from segvit.config.shipped import find_config
from segvit.d2 import load_config
from segvit.data.augmentation import build_test_augmentations
from segvit.errors import UserError
from segvit.inference.class_names import class_list_of
from segvit.inference.images import Picture, read_picture
from segvit.modeling.postprocessing.score_bands import join_bands

Output = Literal["labels", "scores"]
ModelInput = dict[str, object]


class SegViTPredictor:
    """Labels or scores of pictures, one by one, in batches or in streams.

    What comes out, for a picture of H x W pixels upright:
        labels: NumPy (H, W), uint8 where K <= 255, else int32; class ids 0 to K - 1, never void. The scores of all
            classes do not exist together for them.
        scores: NumPy (K, H, W) float32 in main memory, as `SemanticInference` defines them; their argmax over the first
            axis are the labels.
    Class i is `class_names[i]`, drawn in `class_colors[i]` (RGB).

    Any number of threads may use one predictor at the same time.

    Args:
        cfg: a config, the path to one, or the name of a shipped one (see `find_config`).
        weights: the checkpoint; by default MODEL.WEIGHTS.
        opts: KEY VALUE pairs that override the config, such as ("MODEL.DEVICE", "cuda").
        array_format: the order of the channels of NumPy arrays that come in: "BGR", as OpenCV reads them, or "RGB".

    Raises:
        UserError: where the config is faulty, the device is not there, or the checkpoint does not fit.
    """

    def __init__(
        self,
        cfg: CfgNode | str | os.PathLike[str],
        weights: str | os.PathLike[str] | None = None,
        *,
        opts: Sequence[object] = (),
        array_format: str = "BGR",
    ) -> None:
        if array_format not in ("BGR", "RGB"):
            raise UserError(f"array_format {array_format!r} must be 'BGR' or 'RGB'")
        self.cfg = _config(cfg, weights, opts)
        self.array_format = array_format
        classes = class_list_of(self.cfg)
        self.class_names, self.class_colors = classes.names, classes.colors
        self.model = build_model(self.cfg).eval()
        self.model.label_dtype = torch.uint8 if self.num_classes <= 255 else torch.int32
        SegViTCheckpointer(self.model).load(self.cfg.MODEL.WEIGHTS)
        (self._resize,) = build_test_augmentations(self.cfg)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def __call__(self, picture: Picture, *, output: Output = "labels") -> np.ndarray:
        """Segment one picture.

        Args:
            picture: see `read_picture`.
            output: "labels" (H, W) or "scores" (K, H, W).

        Raises:
            OSError, ValueError: where the picture cannot be read.
        """
        return self.batch([picture], output=output)[0]

    def batch(self, pictures: Sequence[Picture], *, output: Output = "labels") -> list[np.ndarray]:
        """Segment pictures of any sizes; those of one padded size share a forward pass. Raises as for one picture."""
        if isinstance(pictures, str | os.PathLike | Image.Image):
            raise UserError("batch takes a list of pictures: call the predictor itself with a single one")
        return self._segment([self.prepare(picture) for picture in pictures], output)

    def stream(
        self,
        pictures: Iterable[Picture],
        *,
        output: Output = "labels",
        batch_size: int = 1,
        on_error: Callable[[Picture, Exception], None] | None = None,
    ) -> Iterator[tuple[Picture, np.ndarray]]:
        """Segment any number of pictures in constant memory.

        Args:
            pictures: taken from the iterable as they are needed: two batches at most are held at a time, one that is
                segmented and one that is read meanwhile.
            output: see `__call__`.
            batch_size: pictures that are segmented together.
            on_error: is given each picture that cannot be read, with the OSError or ValueError, and the stream goes on
                without it. By default that error is raised when the picture's turn comes, as is one of the iterable.

        Yields:
            Each picture as it came in, with its labels or scores, in order.
        """
        if batch_size < 1:
            raise UserError(f"batch_size {batch_size} must be at least 1")
        pictures, failure = iter(pictures), None
        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead: deque[list[tuple[Picture, Future[ModelInput]]]] = deque()
            while failure is None:
                batch, failure = _take(pictures, batch_size)
                if not batch:
                    break
                ahead.append([(picture, reader.submit(self.prepare, picture)) for picture in batch])
                if len(ahead) == 2:
                    yield from self._finish(ahead.popleft(), output, on_error)
            if ahead:
                yield from self._finish(ahead.popleft(), output, on_error)
        if failure is not None:
            raise failure

    def prepare(self, picture: Picture) -> ModelInput:
        """What `model` takes for a picture: "image", uint8 (3, h, w), and "height" and "width", H and W.

        Raises:
            OSError, ValueError: where the picture cannot be read.
        """
        order = self.array_format if isinstance(picture, np.ndarray) else "RGB"
        pixels = read_picture(picture, format=order, array_format=self.array_format)
        transform = self._resize.get_transform(pixels)
        # One channel at a time: of all three Pillow would make a copy with four bytes per pixel.
        channels = range(3) if order == self.cfg.INPUT.FORMAT else (2, 1, 0)
        image = np.stack([transform.apply_image(np.ascontiguousarray(pixels[:, :, index])) for index in channels])
        return {"image": torch.from_numpy(image), "height": pixels.shape[0], "width": pixels.shape[1]}

    def _segment(self, inputs: list[ModelInput], output: Output) -> list[np.ndarray]:
        if output not in ("labels", "scores"):
            raise UserError(f"output {output!r} must be 'labels' or 'scores'")
        with torch.inference_mode():
            if output == "scores":
                return [self._scores(one) for one in inputs]
            return [result["sem_seg_labels"].cpu().numpy() for result in self.model(inputs)]

    def _scores(self, inputs: ModelInput) -> np.ndarray:
        """Bands leave the device one by one."""
        size = (inputs["height"], inputs["width"])
        bands = self.model.score_bands(inputs["image"], size)
        return join_bands((band.float().cpu() for band in bands), size).numpy()

    def _finish(
        self,
        batch: list[tuple[Picture, Future[ModelInput]]],
        output: Output,
        on_error: Callable[[Picture, Exception], None] | None,
    ) -> Iterator[tuple[Picture, np.ndarray]]:
        pictures, inputs, failure = [], [], None
        for picture, future in batch:
            try:
                inputs.append(future.result())
                pictures.append(picture)
            except (OSError, ValueError) as error:
                if on_error is None:
                    failure = error
                    break
                on_error(picture, error)
        yield from zip(pictures, self._segment(inputs, output), strict=True)
        if failure is not None:
            raise failure


def _take(pictures: Iterator[Picture], count: int) -> tuple[list[Picture], Exception | None]:
    """The next ones, fewer at the end; and the error that ended the iterator, which is for those behind them."""
    taken: list[Picture] = []
    try:
        while len(taken) < count:
            taken.append(next(pictures))
    except StopIteration:
        return taken, None
    except Exception as error:
        return taken, error
    return taken, None


def _config(
    cfg: CfgNode | str | os.PathLike[str], weights: str | os.PathLike[str] | None, opts: Sequence[object]
) -> CfgNode:
    """A config of its own for inference, which gives labels."""
    if isinstance(cfg, CfgNode):
        cfg = cfg.clone()
        cfg.defrost()
        cfg.merge_from_list(list(opts))
    else:
        cfg = load_config(find_config(cfg), opts)
    if weights is not None:
        cfg.MODEL.WEIGHTS = os.fspath(weights)
    if not cfg.MODEL.WEIGHTS:
        raise UserError("there are no weights: name a checkpoint, as `weights` or as MODEL.WEIGHTS")
    require_device(cfg.MODEL.DEVICE)
    cfg.TEST.LABELS_ONLY = True
    return cfg
