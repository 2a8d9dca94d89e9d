"""`SegViTPredictor`: load a trained model and segment images one by one, in batches or in streams.

Shape shorthand: H x W pixels of the original image, h x w of the model's input, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import get_args

import numpy as np
import torch
from PIL import Image
from yacs.config import CfgNode

from segvit.assembly.model_types import ModelInput
from segvit.classes.palette import Color
from segvit.errors import UserError
from segvit.images import image_format_of
from segvit.images.given_images import ImageLike
from segvit.inference.loaded_model import LoadedModel, evaluation_mode, load
from segvit.inference.resizing import input_size, resized_channels
from segvit.inference.segmentation import Output, Segmentation
from segvit.modeling.postprocessing.confidence import confidence_of_bands
from segvit.modeling.postprocessing.score_bands import join_bands

OUTPUTS = get_args(Output)
ErrorHandler = Callable[[ImageLike, Exception], None]


class SegViTPredictor:
    """A trained model that returns labels, scores or confidence at the size of the original image.

    For an image of H x W pixels:
        labels: NumPy (H, W) class ids in 0 to K - 1, uint8 if K <= 255, else int32. Pixels are never void. The scores
            of all classes are never in memory at once.
        scores: NumPy (K, H, W) float32, see `SemanticInference`; their argmax over the first axis are the labels.
        confidence: NumPy (H, W) float32 from 1/K to 1, see `confidence_of_scores`; its temperature is
            TEST.CONFIDENCE_TEMPERATURE.
    `predict` returns these three, and images of the classes, as one `Segmentation`.
    Class i is `class_names[i]` and drawn in `class_colors[i]` (RGB). `metrics` are in percent, {} if not known.

    Thread-safe, for a model in evaluation mode: any number of threads may share one predictor.

    Args:
        cfg: a model folder, or the OUTPUT_DIR of a run that has written one; an .onnx or OpenVINO .xml file of
            export_model.py; or a config, the path to one, or the name of a shipped one (see `find_config`).
        weights: the checkpoint, MODEL.WEIGHTS by default; a model folder and an exported file have their own.
        opts: KEY VALUE pairs that override the config, such as ("MODEL.DEVICE", "cuda").
            A model folder runs on a GPU, if there is one; an exported file on the CPU.
        array_format: the channel order of NumPy arrays given as images: "BGR", as OpenCV reads them, or "RGB".

    Raises:
        UserError: for an invalid config, an unavailable device, and a checkpoint that does not fit.
        OSError: for a missing or unreadable file.
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
        self._use(load(cfg, weights, opts), array_format)

    @classmethod
    def of(cls, loaded: LoadedModel, *, array_format: str = "BGR") -> SegViTPredictor:
        """A predictor of a model that is loaded already."""
        predictor = cls.__new__(cls)
        predictor._use(loaded, array_format)
        return predictor

    def _use(self, loaded: LoadedModel, array_format: str) -> None:
        self.array_format = array_format
        self.cfg, self.model, self.classes, metrics = loaded
        self.metrics = dict(metrics)
        self.image_format = image_format_of(self.cfg)
        self._fixed_size = loaded.fixed_size
        self._label_dtype = np.uint8 if self.num_classes <= 255 else np.int32

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.classes.names

    @property
    def class_colors(self) -> tuple[Color, ...]:
        return self.classes.colors

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def __call__(self, image: ImageLike, *, output: Output = "labels") -> np.ndarray:
        """Segment one image.

        Args:
            image: a path, a Pillow image or an array, see `ImageFormat.load`.
            output: "labels" and "confidence" return (H, W), "scores" (K, H, W).

        Raises:
            OSError, ValueError: for an image that cannot be read.
        """
        return self.batch([image], output=output)[0]

    def batch(self, images: Sequence[ImageLike], *, output: Output = "labels") -> list[np.ndarray]:
        """Segment images of any sizes; those of the same padded size share a forward pass. Raises as for one image."""
        if isinstance(images, str | os.PathLike | Image.Image):
            raise UserError("batch takes a list of images: for a single image call the predictor itself")
        return self._segment([self.prepare(image) for image in images], output)

    def predict(self, images: ImageLike | Sequence[ImageLike]) -> Segmentation | list[Segmentation]:
        """Segment one image, or a list of images of any sizes. Raises as for one image."""
        if not isinstance(images, list | tuple):
            return self.predict([images])[0]  # type: ignore[index, list-item]
        pixels = [self.image_format.load(image, array_format=self.array_format) for image in images]
        labels = self.segment_pixels(pixels)
        return [
            Segmentation(
                image=self.image_format.to_rgb(one),
                labels=found,
                classes=self.classes,
                compute=partial(self._of_pixels, one),
            )
            for one, found in zip(pixels, labels, strict=True)
        ]

    def segment_pixels(self, images: Sequence[np.ndarray], *, output: Output = "labels") -> list[np.ndarray]:
        """`batch` of images that `image_format` has read: (H, W, C) each, in the model's channels and levels."""
        return self._segment([self._input(pixels) for pixels in images], output)

    def _of_pixels(self, pixels: np.ndarray, output: Output) -> np.ndarray:
        return self.segment_pixels([pixels], output=output)[0]

    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        output: Output = "labels",
        batch_size: int = 1,
        on_error: ErrorHandler | None = None,
    ) -> Iterator[tuple[ImageLike, np.ndarray]]:
        """Segment any number of images in constant memory.

        While one batch is segmented, a thread reads the next one; there are never more than these two in memory.

        Args:
            images: any iterable, such as a generator of video frames.
            output: "labels", "scores" or "confidence".
            batch_size: images per forward pass.
            on_error: called with each unreadable image and its OSError or ValueError; the stream continues without
                it. By default the error is raised when it is the image's turn. An error of the iterable itself is
                always raised, after the results of the images before it.

        Yields:
            Each image as it was given and its output, in order.
        """
        if batch_size < 1:
            raise UserError(f"batch_size {batch_size} must be at least 1")
        images = iter(images)
        waiting: list[tuple[ImageLike, Future[ModelInput]]] = []
        with ThreadPoolExecutor(max_workers=1) as reader:
            while True:
                batch, failure = _take(images, batch_size)
                reading = [(image, reader.submit(self.prepare, image)) for image in batch]
                yield from self._finish(waiting, output, on_error)
                waiting = reading
                if len(batch) < batch_size:
                    break
            yield from self._finish(waiting, output, on_error)
        if failure is not None:
            raise failure

    def prepare(self, image: ImageLike) -> ModelInput:
        """Read and resize one image: the model's input, with H and W as the output size.

        Raises:
            OSError, ValueError: for an image that cannot be read.
        """
        return self._input(self.image_format.load(image, array_format=self.array_format))

    def _input(self, pixels: np.ndarray) -> ModelInput:
        short, longest = self.cfg.INPUT.MIN_SIZE_TEST, self.cfg.INPUT.MAX_SIZE_TEST
        size = self._fixed_size or input_size(*pixels.shape[:2], short=short, longest=longest)
        resized = resized_channels(pixels, size=size)
        return {"image": torch.from_numpy(resized), "height": pixels.shape[0], "width": pixels.shape[1]}

    def _segment(self, inputs: list[ModelInput], output: Output) -> list[np.ndarray]:
        if output not in OUTPUTS:
            raise UserError(f"output {output!r} must be one of {', '.join(map(repr, OUTPUTS))}")
        with torch.inference_mode(), evaluation_mode(self.model):
            if output != "labels":
                return [self._from_scores(prepared, output) for prepared in inputs]
            labels = [result["sem_seg_labels"].cpu().numpy() for result in self.model(inputs)]
        return [one.astype(self._label_dtype, copy=False) for one in labels]

    def _from_scores(self, prepared: ModelInput, output: Output) -> np.ndarray:
        """(K, H, W) scores, or (H, W) confidence, copied from the device in bands of rows."""
        output_size = (prepared["height"], prepared["width"])
        bands = (band.float() for band in self.model.score_bands(prepared["image"], output_size))
        if output == "confidence":
            temperature = self.cfg.TEST.CONFIDENCE_TEMPERATURE
            return confidence_of_bands(bands, output_size, temperature).cpu().numpy()
        return join_bands((band.cpu() for band in bands), output_size).numpy()

    def _finish(
        self,
        batch: list[tuple[ImageLike, Future[ModelInput]]],
        output: Output,
        on_error: ErrorHandler | None,
    ) -> Iterator[tuple[ImageLike, np.ndarray]]:
        """Segment a batch once it has been read; without `on_error`, stop at the first unreadable image."""
        images: list[ImageLike] = []
        inputs: list[ModelInput] = []
        failure: Exception | None = None
        for image, future in batch:
            try:
                inputs.append(future.result())
                images.append(image)
            except (OSError, ValueError) as error:
                if on_error is None:
                    failure = error
                    break
                on_error(image, error)
        yield from zip(images, self._segment(inputs, output), strict=True)
        if failure is not None:
            raise failure


def _take(images: Iterator[ImageLike], count: int) -> tuple[list[ImageLike], Exception | None]:
    """The next `count` images; fewer at the end of the iterator, or if it raises, which is returned as well."""
    taken: list[ImageLike] = []
    try:
        while len(taken) < count:
            taken.append(next(images))
    except StopIteration:
        return taken, None
    except Exception as error:
        return taken, error
    return taken, None
