"""Default class colours: the colour map of the PASCAL VOC development kit, defined for every class id."""

from __future__ import annotations

from segvit.datasets.registration import Color


def distinct_colors(count: int, *, start: int = 0) -> list[Color]:
    """RGB colours of the ids `start` to `start + count - 1`, distinct below 256; id 0 is black.

    The bits of the id, from the lowest, set in turn the highest bits of red, green and blue, then the next lower ones.
    """
    return [_color(index) for index in range(start, start + count)]


def _color(index: int) -> Color:
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]
