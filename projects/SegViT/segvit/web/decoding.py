"""The program that decodes one uploaded image in a process of its own, see `uploads.read_upload`; it imports no torch.

decoding.py FILE LIMITS IMAGE_FORMAT, the latter two as JSON, writes to standard output a line of JSON, with the image's
size and notes or the reason for its refusal, and then the pixels as a NumPy file.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from segvit.errors import UserError
from segvit.image_levels import DAMAGE, to_colors
from segvit.images import ImageFormat
from segvit.images.channel_files import ARRAY_EXTENSIONS, stored_form
from segvit.images.plane_resizing import resized_planes
from segvit.web.limits import FORMATS, MEGA, Upload, UploadLimits

# Memory of the process in bytes: a constant part for libraries, and the copies of an image of three channels in several
# modes.
BASE_MEMORY = 1000 * MEGA
MEMORY_PER_PIXEL = 40


def main() -> None:
    path, limits_json, format_json = sys.argv[1:]
    limits = UploadLimits(**json.loads(limits_json))
    image_format = ImageFormat.from_json(format_json)
    limit_resources(limits, image_format.channels)
    try:
        upload = decode(path, limits, image_format)
    except UserError as error:
        answer(refusal=str(error))
    except MemoryError:
        answer(refusal=f"{Path(path).name} needs too much memory to decode: save it in another format")
    else:
        answer(size=upload.original_size, notes=upload.notes)
        np.save(sys.stdout.buffer, upload.pixels, allow_pickle=False)


def answer(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def limit_resources(limits: UploadLimits, channels: int) -> None:
    """Limit memory and, for a process whose parent has died, processor time."""
    if sys.platform != "linux":
        return  # Other systems do not enforce these limits.
    import resource

    memory = round(BASE_MEMORY + MEMORY_PER_PIXEL * max(channels / 3, 1) * limits.max_megapixels * MEGA)
    seconds = math.ceil(limits.seconds) + 1
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def decode(path: str, limits: UploadLimits, image_format: ImageFormat) -> Upload:
    """Check the size in the header, decode and scale down. Raises UserError, whose message names no folder."""
    name = Path(path).name
    if os.path.getsize(path) > limits.max_bytes:
        raise UserError(f"{name} is too large: the limit is {limits.max_megabytes:g} megabytes")
    if os.path.getsize(path) == 0:
        raise UserError(f"{name} is empty (0 bytes): send it again")
    notes = _Notes()
    pixels = _decode(path, limits, image_format)
    height, width = pixels.shape[:2]
    return Upload(
        pixels=_scale_down(pixels, limits),
        image=np.empty(0),  # the parent makes it
        original_size=(height, width),
        notes=tuple(notes.messages),
    )


def _decode(path: str, limits: UploadLimits, image_format: ImageFormat) -> np.ndarray:
    """(H, W, C) pixels of a file within the limits."""
    name = Path(path).name
    if not image_format.is_rgb or Path(path).suffix.lower() in ARRAY_EXTENSIONS:
        try:
            _check_size(stored_form(path).size[::-1], name, limits)
            return image_format.read(path)
        except (OSError, ValueError) as error:
            raise UserError(str(error).replace(path, name)) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `limits` replaces it.
            image = Image.open(path, formats=FORMATS)
        with image:
            _check_size(image.size, name, limits)
            return to_colors(image, format=image_format.order, name=name, max_level=image_format.max_level)
    except Image.DecompressionBombError as error:
        pillow_limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / MEGA  # Pillow refuses to open larger files.
        raise UserError(_too_many_pixels(name, f"more than {pillow_limit:.0f}", limits)) from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{name} is not an image in one of the formats {', '.join(FORMATS)}") from error
    except DAMAGE as error:
        if str(error).startswith(name):
            raise
        raise UserError(f"{name} is damaged ({error}): send it again") from error


class _Notes(logging.Handler):
    """Collects the warnings about images."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        logging.getLogger("segvit").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _check_size(size: tuple[int, int], name: str, limits: UploadLimits) -> None:
    width, height = size
    if width * height > limits.max_megapixels * MEGA:
        raise UserError(_too_many_pixels(name, f"{width * height / MEGA:.1f} ({width} x {height})", limits))
    if max(size) > limits.max_side:
        raise UserError(f"{name} ({width} x {height}) has a side of more than {limits.max_side} pixels: crop it")


def _too_many_pixels(name: str, count: str, limits: UploadLimits) -> str:
    return f"{name} has too many megapixels: {count}; the limit is {limits.max_megapixels:g}: scale it down, or crop it"


def _scale_down(pixels: np.ndarray, limits: UploadLimits) -> np.ndarray:
    height, width = pixels.shape[:2]
    factor = (limits.work_megapixels * MEGA / (height * width)) ** 0.5
    if factor >= 1:
        return pixels
    size = (max(int(height * factor), 1), max(int(width * factor), 1))
    planes = resized_planes(pixels, size=size, method=Image.Resampling.LANCZOS, reducing_gap=3)
    return np.stack(planes, axis=2)


if __name__ == "__main__":
    main()
