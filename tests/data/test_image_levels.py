"""INPUT.MAX_LEVEL: images of more than 8 bits are scaled by one rule in training, prediction, the doctor and the tools.

Shape shorthand: H x W pixels of an image.
"""

import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.folders import block_image
from segvit.data import SegViTSemanticDatasetMapper
from segvit.errors import UserError
from segvit.image_reading import read_image
from segvit.inference import load_image

COLORS = block_image(1)  # (H, W, 3) uint8 RGB
GREY = COLORS[..., 0]
TWELVE_BITS = 4095


@pytest.fixture
def save(tmp_path):
    """Write (H, W), (H, W, 3) or (H, W, 4) RGB levels -> the file."""

    def write(levels, extension="png"):
        path = tmp_path / f"image.{extension}"
        order = [2, 1, 0, 3][: levels.shape[-1]] if levels.ndim == 3 else slice(None)
        assert cv2.imwrite(str(path), levels[..., order] if levels.ndim == 3 else levels)
        return path

    return write


def read(path, max_level=0):
    return read_image(path, format="RGB", max_level=max_level)


@pytest.mark.parametrize("extension", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("max_level, factor", [(TWELVE_BITS, 16), (255, 1), (0, 256)])
def test_max_level_becomes_white_in_files_of_16_bits(save, extension, channels, max_level, factor):
    levels = GREY if channels == 1 else COLORS
    levels = levels.astype(np.uint16) * factor + factor // 2
    if channels == 4:
        levels = np.dstack([levels, np.full(levels.shape[:2], 65535, np.uint16)])
    expected = COLORS if channels > 1 else GREY[..., None].repeat(3, -1)
    path = save(levels, extension)
    assert np.array_equal(read(path, max_level), expected)
    assert np.array_equal(read_image(path, format="BGR", max_level=max_level), expected[..., ::-1])


def test_levels_above_max_level_are_white(save):
    levels = np.full((4, 4), 20000, np.uint16)
    levels[0] = 5000
    assert np.unique(read(save(levels), 10000)).tolist() == [127, 255]


def test_max_level_does_not_change_images_of_8_bits(save):
    assert np.array_equal(read(save(COLORS), TWELVE_BITS), COLORS)


def test_grey_with_alpha_of_16_bits_is_scaled(tmp_path):
    """Pillow and OpenCV do not write such PNGs: 16-bit samples are written as pairs of bytes."""
    import struct
    import zlib

    height, width = GREY.shape
    samples = np.stack([GREY.astype(">u2") * 16, np.full(GREY.shape, 65535, ">u2")], axis=-1).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    path = tmp_path / "la.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    assert np.array_equal(read(path, TWELVE_BITS), GREY[..., None].repeat(3, -1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_exif_rotation_is_applied_to_16_bit_colours(tmp_path, save, orientation, extension):
    path = save(COLORS.astype(np.uint16) * 16, extension)
    eight = tmp_path / f"eight.{extension}"
    Image.fromarray(COLORS).save(eight)
    for file in (path, eight):
        if extension == "png":
            exif = Image.Exif()
            exif[0x0112] = orientation
            content = file.read_bytes()
            tag = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
            import struct
            import zlib

            chunk = struct.pack(">I", len(tag) - 4) + tag + struct.pack(">I", zlib.crc32(tag))
            file.write_bytes(content[:33] + chunk + content[33:])
        else:
            set_tiff_orientation(file, orientation)
    assert np.array_equal(read(path, TWELVE_BITS), read(eight))


def set_tiff_orientation(path, orientation):
    """Replace the tag SampleFormat or PlanarConfiguration of a little-endian TIFF by Orientation, in sorted order."""
    import struct

    content = bytearray(path.read_bytes())
    assert content[:2] == b"II"
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    tags = [bytes(content[start + 2 + 12 * i : start + 14 + 12 * i]) for i in range(count)]
    tags = [tag for tag in tags if struct.unpack_from("<H", tag)[0] != 274]
    tags.append(struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    tags.sort(key=lambda tag: struct.unpack_from("<H", tag)[0])
    position = len(content) + len(content) % 2
    content += b"\0" * (len(content) % 2) + struct.pack("<H", len(tags)) + b"".join(tags) + struct.pack("<I", 0)
    struct.pack_into("<I", content, 4, position)
    path.write_bytes(bytes(content))


def test_training_and_prediction_read_the_same_pixels(save, tiny_cfg):
    path = save(COLORS.astype(np.uint16) * 16)
    tiny_cfg.INPUT.MAX_LEVEL = TWELVE_BITS
    tiny_cfg.INPUT.FORMAT, tiny_cfg.INPUT.MIN_SIZE_TEST = "RGB", 0
    mapped = SegViTSemanticDatasetMapper(tiny_cfg, is_train=False)({"file_name": str(path)})
    assert np.array_equal(mapped["image"].numpy().transpose(1, 2, 0), COLORS)
    assert np.array_equal(load_image(path, max_level=TWELVE_BITS), COLORS)
    assert np.array_equal(load_image(COLORS.astype(np.uint16) * 16, array_format="RGB", max_level=TWELVE_BITS), COLORS)


@pytest.mark.parametrize("levels", [GREY.astype(np.uint16) * 16, COLORS.astype(np.uint16) * 16, GREY.astype(np.uint16)])
def test_levels_in_a_small_part_of_the_range_are_reported(save, levels, caplog):
    with caplog.at_level(logging.WARNING, logger="segvit"):
        read(save(levels))
    assert "INPUT.MAX_LEVEL" in caplog.text and "image.png" in caplog.text


def test_a_max_level_that_makes_most_pixels_white_is_reported(save, caplog):
    with caplog.at_level(logging.WARNING, logger="segvit"):
        read(save(COLORS.astype(np.uint16) * 16), 100)
    assert "INPUT.MAX_LEVEL" in caplog.text and "white" in caplog.text


def test_levels_over_the_whole_range_and_black_images_are_not_reported(save, caplog):
    with caplog.at_level(logging.WARNING, logger="segvit"):
        read(save(GREY.astype(np.uint16) * 256))
        read(save(np.zeros((4, 4), np.uint16)))
        read(save(GREY.astype(np.uint16) * 16), TWELVE_BITS)
    assert not caplog.text


def test_32_bit_integers_need_a_max_level(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(GREY.astype(np.int32) * 1000).save(path)
    with pytest.raises(UserError, match=r"a\.tif: .*INPUT\.MAX_LEVEL"):
        read(path)
    assert read(path, 255_999)[..., 0].tolist() == GREY.tolist()
    Image.fromarray(GREY.astype(np.int32) - 300).save(path)
    with pytest.raises(UserError, match=r"a\.tif: .*below 0"):
        read(path, 255)


def test_floating_point_levels_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(GREY.astype(np.float32) / 255).save(path)
    with pytest.raises(UserError, match=r"a\.tif: .*8 or 16 bits"):
        read(path, 255)


@pytest.mark.parametrize("url", ["http://example.org/a.jpg", "https://example.org/a.png", "ftp://example.org/a.png"])
def test_urls_are_refused_without_a_download(url, monkeypatch):
    from detectron2.utils.file_io import PathManager

    monkeypatch.setattr(PathManager, "open", lambda *arguments: pytest.fail("downloaded"))
    for function in (load_image, read):
        with pytest.raises(UserError, match="download it first"):
            function(url)
