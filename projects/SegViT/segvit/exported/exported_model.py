"""`ExportedModel`: an exported file in the place of the meta-architecture, for prediction.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F

from segvit.assembly.model_types import ModelInput, ModelOutput, requested_size
from segvit.errors import UserError
from segvit.exported.files import ExportedFile
from segvit.modeling.postprocessing.image_sizes import Size
from segvit.modeling.postprocessing.score_bands import labels_of_bands, resize_bands
from segvit.modeling.postprocessing.sliding_window import SlidingWindow


class ExportedModel:
    """Images to labels or scores by an exported file, which stays unchanged; any number of threads may call it.

    Args:
        file: the opened file.
        windows: segment overlapping windows of an image; None segments it as a whole.
        label_dtype: of labels.

    Raises:
        UserError: windows do not fit the file.
    """

    training = False
    device = torch.device("cpu")

    def __init__(self, file: ExportedFile, *, windows: SlidingWindow | None, label_dtype: torch.dtype) -> None:
        if windows is not None and file.metadata["result"] == "labels":
            raise UserError(f"TEST.WINDOW.ENABLED True: windows average scores, and {file.path} returns labels alone")
        if windows is not None and file.fixed_size not in (None, windows.size):
            raise UserError(
                f"TEST.WINDOW.SIZE {list(windows.size)}: {file.path} takes {list(file.fixed_size or ())} only"
            )
        self.file = file
        self.windows = windows
        self.label_dtype = label_dtype

    @property
    def gives_labels(self) -> bool:
        return self.file.metadata["result"] == "labels"

    @property
    def built_size(self) -> Size:
        """Height and width that the model was built for. Raises UserError for a file that does not tell it."""
        size = self.file.fixed_size or self.file.metadata.get("config", {}).get("MODEL.VIT.IMG_SIZE")
        if size is None:
            raise UserError(f"{self.file.path} does not tell the size of its training images: set TEST.WINDOW")
        return size[0], size[1]

    @property
    def network(self) -> ExportedModel:
        """What scores whole images, under the name that the meta-architecture has for it."""
        return self

    def scores(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Scores (K, H, W) of each of the images (B, C, H, W). Raises UserError for a file of labels."""
        if self.gives_labels:
            raise UserError(f"{self.file.path} returns labels alone: export the model with --result scores")
        return list(self._run(images))

    def __call__(self, inputs: Sequence[ModelInput]) -> list[ModelOutput]:
        """The labels of each image; images of one size are run together."""
        if self.windows is not None:
            return [self._windowed_labels(one) for one in inputs]
        results: dict[int, ModelOutput] = {}
        for size in dict.fromkeys(one["image"].shape for one in inputs):
            indices = [index for index, one in enumerate(inputs) if one["image"].shape == size]
            outputs = self._run(torch.stack([inputs[index]["image"] for index in indices]))
            for index, output in zip(indices, outputs, strict=True):
                labels = labels_at(output, requested_size(inputs[index]), self.label_dtype)
                results[index] = {"sem_seg_labels": labels}
        return [results[index] for index in range(len(inputs))]

    def score_bands(self, image: torch.Tensor, output_size: Size) -> Iterator[torch.Tensor]:
        """Scores of one image (C, H, W) at the output size, as bands of rows (K, rows, width) from top to bottom.

        Raises:
            UserError: the file returns labels alone.
        """
        if self.windows is None:
            bands: Iterable[torch.Tensor] = self.scores(image[None])
        else:
            bands = self.windows.bands(image, self.scores)
        return resize_bands(bands, (image.shape[-2], image.shape[-1]), output_size)

    def _windowed_labels(self, one: ModelInput) -> ModelOutput:
        size = requested_size(one)
        return {"sem_seg_labels": labels_of_bands(self.score_bands(one["image"], size), size, self.label_dtype)}

    def _run(self, images: torch.Tensor) -> torch.Tensor:
        """Run images (B, C, H, W). Raises UserError for a size that the file does not take."""
        size, fixed = tuple(images.shape[-2:]), self.file.fixed_size
        smallest = self.file.metadata.get("smallest_side", 1)
        if fixed is not None and size != fixed:
            raise UserError(f"{self.file.path} takes {fixed[0]} x {fixed[1]} pixels only, not {size[0]} x {size[1]}")
        if fixed is None and min(size) < smallest:
            raise UserError(
                f"{self.file.path} takes at least {smallest} pixels in both directions, not {size[0]} x {size[1]}"
            )
        return self.file.run(images)


def labels_at(result: torch.Tensor, size: Size, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Labels (H, W) of `size` from what a file returns for an image.

    Scores (K, h, w) are resized before their argmax, labels (h, w) to the nearest pixel.
    """
    if result.ndim == 3:
        return labels_of_bands(resize_bands([result], (result.shape[1], result.shape[2]), size), size, dtype)
    # In float64, which holds every label.
    return F.interpolate(result[None, None].double(), size=size, mode="nearest-exact")[0, 0].to(dtype)
