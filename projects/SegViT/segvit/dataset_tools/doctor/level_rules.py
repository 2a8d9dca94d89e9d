"""Findings on the levels of images: images that become almost black or white when they are scaled to 8 bits."""

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
