"""Image files that are small on disk and costly to decode."""

import io
import zlib

from PIL import Image

SCAN_HEADER = b"\xff\xda"
END_OF_IMAGE = b"\xff\xd9"


def png_of_size(width, height, *, rows=None):
    """The bytes of a black PNG of one bit per pixel; only `rows` rows are in it, by default all."""
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    row = b"\0" * (1 + -(-width // 8))
    data = b"IDAT" + zlib.compress(row * (height if rows is None else rows))
    chunks = [
        len(chunk[4:]).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        for chunk in (header, data, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg_of_many_scans(scans, *, side=4000):
    """The bytes of a grey progressive JPEG with this many more scans; each passes over the whole image."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    assert content.endswith(END_OF_IMAGE)
    last_scan = content[content.rindex(SCAN_HEADER) : -len(END_OF_IMAGE)]
    return content[: -len(END_OF_IMAGE)] + last_scan * scans + END_OF_IMAGE
