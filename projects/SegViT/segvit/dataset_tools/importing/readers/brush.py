"""`decode_brush`: the run lengths of Label Studio's brush, a stream of bits.

The stream is that of the JavaScript package @thi.ng/rle-pack: 32 bits with the number of values, 5 bits with the bits
of a value less one, 4 times 4 bits with the bits of a run's length less one; then runs. A run has a bit that says
whether its values are equal, 2 bits that choose the size of the length, the length less one, and one value or all. The
values are the bytes red, green, blue, alpha of an image; alpha is the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segvit.errors import UserError

# Four values a pixel of the largest image that is decoded: 20,000 x 20,000 pixels.
MAX_VALUES = 4 * 20_000**2


class _Bits:
    """Reads unsigned numbers from a stream of bits, the highest bit first."""

    def __init__(self, content: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(content, dtype=np.uint8))
        self._next = 0

    def read(self, size: int) -> int:
        """One number of `size` bits."""
        return int(self.read_many(1, size)[0])

    def read_many(self, count: int, size: int) -> np.ndarray:
        """(count,) int64 numbers of `size` bits each."""
        bits = self._bits[self._next : self._next + count * size]
        if len(bits) < count * size:
            raise UserError("the run lengths of the brush end too early")
        self._next += count * size
        return bits.reshape(count, size) @ (1 << np.arange(size - 1, -1, -1, dtype=np.int64))


def decode_brush(content: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool of an image of this size. Raises UserError if the stream is damaged."""
    try:
        values = _decode(bytes(content))
    except ValueError as error:
        raise UserError(f"damaged run lengths of a brush ({error})") from error
    if len(values) != 4 * size[0] * size[1]:
        raise UserError(f"the brush's run lengths have {len(values) // 4} pixels, not {size[1]} x {size[0]}")
    return values.reshape(*size, 4)[..., 3] > 0


def _decode(content: bytes) -> np.ndarray:
    bits = _Bits(content)
    total, word = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    if total > MAX_VALUES:
        raise UserError(f"the run lengths of the brush claim {total} values")
    values = np.zeros(total, dtype=np.uint8)
    start = 0
    while start < total:
        is_run = bits.read(1)
        end = start + bits.read(sizes[bits.read(2)]) + 1
        if end > total:
            raise UserError("a run of the brush ends after the image")
        values[start:end] = bits.read_many(1 if is_run else end - start, word) & 255
        start = end
    return values
