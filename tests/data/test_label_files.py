"""Label maps in every PNG and TIFF form are read as the ids in the file, or refused.

Shape shorthand: H x W pixels of a label map.
"""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from segvit.data.label_reading import count_ids, read_label_map
from segvit.errors import UserError

HEIGHT, WIDTH = 6, 11


def random_ids(count):
    return np.random.default_rng(0).integers(0, count, (HEIGHT, WIDTH), dtype=np.uint8)


def write_png(path, ids, bits, color_type=0):
    """A grey (colour type 0) or palette (3) PNG with 1, 2 or 4 bits per sample."""
    padded = np.zeros((HEIGHT, -(-WIDTH * bits // 8) * 8 // bits), np.uint8)
    padded[:, :WIDTH] = ids
    planes = np.unpackbits(padded[..., None], axis=-1)[..., 8 - bits :]
    rows = np.packbits(planes.reshape(HEIGHT, -1), axis=1)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, color_type, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(3 * 2**bits))) if color_type == 3 else b""
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("color_type", [0, 3], ids=["grey", "palette"])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_pngs_with_few_bits_are_read_as_ids(tmp_path, bits, color_type):
    ids = random_ids(2**bits)
    write_png(tmp_path / "a.png", ids, bits, color_type)
    assert np.array_equal(read_label_map(tmp_path / "a.png"), ids)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_tiffs_with_few_bits_or_inverted_levels_are_read_as_ids(tmp_path, bits, inverted):
    """The photometric interpretation "white is zero" is about display: the ids are the stored values."""
    ids = random_ids(2**bits if bits < 8 else 200)
    padded = np.zeros((HEIGHT, -(-WIDTH * bits // 8) * 8 // bits), np.uint8)
    padded[:, :WIDTH] = ids
    rows = np.packbits(np.unpackbits(padded[..., None], axis=-1)[..., 8 - bits :].reshape(HEIGHT, -1), axis=1)
    data = rows.tobytes()
    photometric = 0 if inverted else 1
    tags = [(256, 3, WIDTH), (257, 3, HEIGHT), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 3, HEIGHT), (279, 4, len(data))]
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in tags
    )
    data += b"\0" * (len(data) % 2)
    content = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + struct.pack("<I", 0)
    (tmp_path / "a.tif").write_bytes(content)
    assert np.array_equal(read_label_map(tmp_path / "a.tif"), ids)


@pytest.mark.parametrize("levels", [3, 255, 700])
def test_pgms_with_any_maximum_are_read_as_ids(tmp_path, levels):
    ids = np.random.default_rng(0).integers(0, levels + 1, (HEIGHT, WIDTH))
    ids[0, 0] = levels
    data = ids.astype(">u2" if levels > 255 else np.uint8).tobytes()
    (tmp_path / "a.png").write_bytes(f"P5 {WIDTH} {HEIGHT} {levels}\n".encode() + data)
    assert np.array_equal(read_label_map(tmp_path / "a.png"), ids)


def test_32_bit_ids_are_read(tmp_path):
    ids = random_ids(200).astype(np.int32) * 1000
    Image.fromarray(ids).save(tmp_path / "a.tif")
    assert np.array_equal(read_label_map(tmp_path / "a.tif"), ids)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "JPEG2000"])
def test_lossy_formats_are_refused_whatever_the_extension(tmp_path, format):
    Image.fromarray(random_ids(3).repeat(8, 0).repeat(8, 1)).save(tmp_path / "a.png", format=format)
    with pytest.raises(UserError, match=r"a\.png: .*(changes|channels)"):
        read_label_map(tmp_path / "a.png")


@pytest.mark.parametrize("format", ["TIFF", "PNG", "GIF"])
def test_files_of_several_images_are_refused(tmp_path, format):
    frames = [Image.fromarray(random_ids(3) + index) for index in range(2)]
    frames[0].save(tmp_path / "a.png", format=format, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=r"a\.png: .*2 images"):
        read_label_map(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_rotation_of_a_label_map_equals_that_of_its_image(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    ids = random_ids(3)
    Image.fromarray(ids).save(tmp_path / "a.png", exif=exif)
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    assert np.array_equal(read_label_map(tmp_path / "a.png"), np.rot90(ids, turns))


def test_a_colour_label_map_names_the_converter(tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: .*3 channels.*check_dataset\.py"):
        read_label_map(tmp_path / "a.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, bool])
def test_ids_are_counted_in_any_dtype(dtype):
    ids, pixels = count_ids(np.array([[0, 1, 1], [1, 0, 1]], dtype))
    assert ids.tolist() == [0, 1] and pixels.tolist() == [2, 4] and ids.dtype == np.int64
