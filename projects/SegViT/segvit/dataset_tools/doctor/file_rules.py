"""Findings on single files: unreadable, colour label maps, wrong sizes, several images, almost black or white."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from segvit.dataset_tools.doctor.finding import Finding, Severity
from segvit.dataset_tools.doctor.inspection import Inspection
from segvit.image_levels import DARK_FRACTION, WHITE_FRACTION

# If the highest levels of most images are below this fraction of the white level, part of the contrast is lost.
DIM_FRACTION = 1 / 4
# The largest levels of 8, 10, 12, 14 and 16 bits.
LARGEST_LEVELS = (255, 1023, 4095, 16383, 65535)


def check_files(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    """Unreadable files, colour label maps, wrong sizes, and files with several images in a split."""
    yield from _unreadable(split, inspections)
    yield from _colored(split, inspections)
    yield from _sizes(split, inspections)
    yield from _pages(split, inspections)


def _unreadable(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    images = tuple(it.image_error for it in inspections if it.image_error)
    if images:
        yield Finding("unreadable_image", "error", split, "images cannot be read", images)
    label_maps = tuple(it.label_error for it in inspections if it.label_error)
    if label_maps:
        yield Finding("unreadable_label_map", "error", split, "label maps cannot be read", label_maps)


def _colored(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    files = tuple(f"{it.pair.label_map}: {it.channels} channels" for it in inspections if it.channels > 1)
    if files:
        message = (
            "label maps are colour images, but each pixel must be one class id; "
            "check_dataset.py FOLDER --convert-to NEW_FOLDER converts the colours to ids"
        )
        yield Finding("colored_label_map", "error", split, message, files)


def _sizes(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    readable = [it for it in inspections if not it.image_error and not it.label_error]
    wrong = [it for it in readable if it.image_size != it.label_size]
    if wrong:
        files = tuple(f"{it.pair.label_map}: {_size(it.label_size)}, its image {_size(it.image_size)}" for it in wrong)
        rotated = all(it.image_size == it.label_size[::-1] for it in wrong)
        hint = "; they are rotated by 90 degrees: images are read with their EXIF rotation" if rotated else ""
        yield Finding("sizes", "error", split, f"label maps differ in size from their image{hint}", files)


def _pages(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    files = tuple(f"{it.pair.image}: {it.pages} images" for it in inspections if it.pages > 1)
    if files:
        message = "image files hold several images (pages or frames), of which only the first is used"
        yield Finding("several_pages", "warning", split, message, files)


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"


def check_levels(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    """Images of a split that use a small part of the levels: an error if almost black, a warning if dim."""
    readable = [it for it in inspections if not it.image_error and it.highest_level > 0]
    for is_deep in (False, True):
        images = [it for it in readable if (it.white_level != 255 or it.white_fraction > 0) is is_deep]
        if images:
            yield from _dark(split, images, is_deep=is_deep)
    white = tuple(str(it.pair.image) for it in readable if it.white_fraction > WHITE_FRACTION)
    if white:
        message = "most levels of the images are above INPUT.MAX_LEVEL and become white: set it to the highest level"
        yield Finding("white_images", "error", split, message, white)


def check_channels(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    """Channels that have one level in all images of a split: they tell the model nothing."""
    ranges = [it.channel_range for it in inspections if it.channel_range is not None]
    if not ranges:
        return
    low, high = np.min([one[0] for one in ranges], axis=0), np.max([one[1] for one in ranges], axis=0)
    flat = tuple(f"channel {channel}: level {low[channel]:g}" for channel in np.flatnonzero(low == high))
    if flat:
        message = "channels have the same level everywhere, such as one without data: leave them out of the files"
        yield Finding("flat_channels", "warning", split, message, flat)


def _dark(split: str, images: Sequence[Inspection], *, is_deep: bool) -> Iterator[Finding]:
    # The median: single hot pixels or bright images do not hide that all others are dark.
    brightness = float(np.median([it.highest_level / it.white_level for it in images]))
    if brightness > (DIM_FRACTION if is_deep else DARK_FRACTION):
        return
    highest = max(it.highest_level for it in images)
    white = max(it.white_level for it in images)
    message = f"images use levels up to {highest}, and level {white} becomes white: "
    if is_deep:
        suggestion = next((level for level in LARGEST_LEVELS if level >= highest), highest)
        message += f"set INPUT.MAX_LEVEL (check_dataset.py: --max-level) to their highest level, such as {suggestion}"
    else:
        message += "they are almost black; save them with levels from 0 to 255 (are they label maps?)"
    severity: Severity = "error" if brightness <= DARK_FRACTION else "warning"
    yield Finding("dark_images", severity, split, message, tuple(str(it.pair.image) for it in images))
