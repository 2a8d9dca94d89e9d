"""`LabelDrawer`: draw and write the label map of one image; runs in a worker process.

Shape shorthand: H x W pixels of the image after EXIF rotation, K classes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from segvit.dataset_tools.importing.class_plan import ClassPlan
from segvit.dataset_tools.importing.readers.labelme import embedded_image
from segvit.dataset_tools.importing.source import Canvas, DrawingRules, Skipped, SourceImage
from segvit.dataset_tools.near_duplicates import Fingerprint, fingerprint
from segvit.dataset_tools.preparation.readers import TRANSPOSED_ORIENTATIONS
from segvit.errors import UserError
from segvit.image_levels import DAMAGE, ORIENTATION, UPRIGHT, to_colors
from segvit.images.channel_files import ARRAY_EXTENSIONS, TIFF_EXTENSIONS, read_channels, stored_form
from segvit.images.level_range import shown_levels
from segvit.label_png import write_label_png


@dataclass(frozen=True)
class DrawingJob:
    """An image and the file of its label map."""

    image: SourceImage
    target: Path


@dataclass(frozen=True)
class Drawn:
    """The result of a job.

    Attributes:
        pixels: (K + 1,) pixels of each class, and of ignored ones.
        skipped: objects, or the image, which then has no `pixels`.
    """

    pixels: np.ndarray | None = None
    fingerprint: Fingerprint | None = None
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True)
class LabelDrawer:
    """A picklable function of a `DrawingJob`."""

    plan: ClassPlan
    rules: DrawingRules

    def __call__(self, job: DrawingJob) -> Drawn:
        """Draw and write. Damaged files become what is skipped; errors in writing are raised."""
        key = job.image.key
        try:
            opened = _open(job.image)
            canvas = self._draw(job.image, opened)
        except (UserError, OSError) as error:
            return Drawn(skipped=[Skipped(key, str(error))])
        labels = self.plan.to_labels(canvas.ids)
        write_label_png(job.target, labels, self.plan.colors)
        counts = np.bincount(labels.ravel(), minlength=self.plan.ignore_value + 1)
        num_classes = len(self.plan.names)
        pixels = np.append(counts[:num_classes], counts[self.plan.ignore_value])
        skipped = [Skipped(f"{key}: {it.what}" if key not in it.what else it.what, it.why) for it in canvas.skipped]
        return Drawn(pixels, opened.fingerprint, skipped)

    def _draw(self, image: SourceImage, opened: _Opened) -> Canvas:
        """The canvas of the upright image. Raises UserError if the annotation is of another size."""
        given = image.labels.size
        if given is None or given == opened.upright_size:
            return image.labels.draw(opened.upright_size, self.plan.ids, self.rules)
        if given != opened.stored_size:
            height, width = opened.upright_size
            raise UserError(
                f"the annotation is for {given[1]} x {given[0]} pixels, but the image has {width} x {height}"
            )
        canvas = image.labels.draw(given, self.plan.ids, self.rules)
        return Canvas(np.ascontiguousarray(UPRIGHT[opened.orientation](canvas.ids)), canvas.skipped)


@dataclass(frozen=True)
class _Opened:
    """Facts about an image: (H, W) as stored and upright, the EXIF orientation, the fingerprint."""

    stored_size: tuple[int, int]
    upright_size: tuple[int, int]
    orientation: int
    fingerprint: Fingerprint | None


def _open(source: SourceImage) -> _Opened:
    """Decode an image to its end, to find damage. Raises UserError."""
    if not source.is_embedded and _has_channels(source.path):
        return _open_channels(source.path)
    content = io.BytesIO(embedded_image(source.path)) if source.is_embedded else source.path
    try:
        with Image.open(content) as image:
            stored = image.height, image.width
            orientation = int(image.getexif().get(ORIENTATION, 1))
            pixels = _colors(image)
    except Image.DecompressionBombError as error:
        raise UserError(
            f"larger than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels: cut it into tiles"
        ) from error
    except DAMAGE as error:
        if isinstance(error, ValueError) and source.path.suffix.lower() in TIFF_EXTENSIONS:
            # Pillow opens some TIFFs, such as four planes of 16 bits, that it cannot decode.
            return _open_channels(source.path)
        raise UserError(f"not an image, or damaged ({error})") from error
    upright = stored[::-1] if orientation in TRANSPOSED_ORIENTATIONS else stored
    return _Opened(stored, upright, orientation, None if pixels is None else fingerprint(pixels))


def _has_channels(path: Path) -> bool:
    """Whether a file is an array, or a TIFF that Pillow does not read, or not all channels of."""
    if path.suffix.lower() in ARRAY_EXTENSIONS:
        return True
    if path.suffix.lower() not in TIFF_EXTENSIONS:
        return False
    try:
        with Image.open(path):
            return stored_form(path).channels > len("RGBA")
    except DAMAGE:
        return True


def _open_channels(path: Path) -> _Opened:
    channels = stored_form(path).channels
    pixels = read_channels(path, channels).array
    shown = shown_levels(pixels[..., [0, min(1, channels - 1), min(2, channels - 1)]])
    height, width = pixels.shape[:2]
    return _Opened((height, width), (height, width), 1, fingerprint(pixels, shown=shown))


def _colors(image: Image.Image) -> np.ndarray | None:
    """(H, W, 3) uint8; None for levels without a fixed range, which are not compared."""
    try:
        return to_colors(image, format="RGB", name="image")
    except UserError:
        image.load()
        return None
