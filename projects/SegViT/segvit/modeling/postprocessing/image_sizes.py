"""`ImageSizes`: the three sizes of one image on its way through the model."""

from __future__ import annotations

from typing import NamedTuple

Size = tuple[int, int]


class ImageSizes(NamedTuple):
    """Height and width in pixels.

    Attributes:
        padded: what the encoder sees, a multiple of the patch size; the decoder's grid covers it.
        image: the image itself, the top left corner of `padded`.
        output: the size of the result, to which scores are resized after the padding is cut off.
    """

    padded: Size
    image: Size
    output: Size
