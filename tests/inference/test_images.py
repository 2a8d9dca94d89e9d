"""Files, Pillow images and arrays of every mode become the same kind of picture.

Shape shorthand: H x W pixels.
"""

import numpy as np
import pytest
from PIL import Image

from segvit.inference import read_picture

HEIGHT, WIDTH = 5, 7


@pytest.fixture
def colors():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def through_file(image, folder, extension="png", **options):
    image.save(folder / f"picture.{extension}", **options)
    return read_picture(folder / f"picture.{extension}")


def test_orders_of_channels(colors):
    assert np.array_equal(read_picture(colors, format="RGB", array_format="RGB"), colors)
    assert np.array_equal(read_picture(colors, format="BGR", array_format="BGR"), colors)
    assert np.array_equal(read_picture(colors), colors[:, :, ::-1])
    image = Image.fromarray(colors)
    assert np.array_equal(read_picture(image), colors)
    assert np.array_equal(read_picture(image, format="BGR"), colors[:, :, ::-1])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_alpha_is_dropped(colors, mode, tmp_path):
    image = Image.fromarray(colors).convert(mode)
    if mode == "RGBA":
        image.putalpha(7)
        with_alpha = np.asarray(image)
        assert np.array_equal(read_picture(with_alpha, array_format="RGB"), colors)
        assert np.array_equal(read_picture(with_alpha[:, :, [2, 1, 0, 3]]), colors)
    assert np.array_equal(read_picture(image), colors)
    assert np.array_equal(through_file(image, tmp_path), colors)


def test_grey(colors, tmp_path):
    grey = colors[:, :, 0]
    expected = np.stack([grey] * 3, axis=2)
    for picture in (grey, grey[:, :, None], Image.fromarray(grey)):
        assert np.array_equal(read_picture(picture), expected)
    assert np.array_equal(through_file(Image.fromarray(grey), tmp_path), expected)
    with_alpha = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(grey)])
    assert np.array_equal(through_file(with_alpha, tmp_path), expected)
    black_and_white = Image.fromarray(grey > 127)
    assert set(np.unique(through_file(black_and_white, tmp_path))) == {0, 255}


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_of_sixteen_bits_the_upper_eight(colors, extension, tmp_path):
    grey = colors[:, :, 0]
    levels = grey.astype(np.uint16) * 256 + 99
    expected = np.stack([grey] * 3, axis=2)
    assert np.array_equal(through_file(Image.fromarray(levels), tmp_path, extension), expected)
    assert np.array_equal(read_picture(levels), expected)
    assert np.array_equal(read_picture(colors.astype(np.uint16) * 256 + 3), colors[:, :, ::-1])
    assert np.array_equal(read_picture(levels.astype(">u2")), expected)


def test_palettes(tmp_path):
    indices = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 3
    palette = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]], dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    for options in ({}, {"transparency": 1}):
        assert np.array_equal(through_file(image, tmp_path, **options), palette[indices])


def test_cmyk(colors, tmp_path):
    assert through_file(Image.fromarray(colors).convert("CMYK"), tmp_path, "tif").shape == colors.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_as_the_exif_data_say(orientation, tmp_path):
    """Stored in each of the eight ways, the picture that is seen is one and the same."""
    seen = np.zeros((32, 48, 3), dtype=np.uint8)
    seen[:16, :24] = (255, 0, 0)
    seen[16:, 24:] = (0, 0, 255)
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    undo |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    stored = Image.fromarray(seen)
    if orientation in undo:
        stored = stored.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = through_file(stored, tmp_path, "jpg", exif=exif, quality=100, subsampling=0)
    with Image.open(tmp_path / "picture.jpg") as image:
        assert np.array_equal(read_picture(image), read)
    assert read.shape == seen.shape
    assert np.abs(read.astype(int) - seen).mean() < 3


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("red", "blue")]
    read = through_file(frames[0], tmp_path, "gif", save_all=True, append_images=frames[1:])
    assert (read == [255, 0, 0]).all()


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((4, 4, 3), dtype=np.float32), "float32 is ambiguous"),
        (np.zeros((4, 4), dtype=np.int64), "int64 is ambiguous"),
        (np.zeros((4, 4, 2), dtype=np.uint8), r"shape \(4, 4, 2\) is no picture"),
        (np.zeros((3, 4, 4, 3), dtype=np.uint8), "is no picture"),
        (np.zeros((0, 4, 3), dtype=np.uint8), "is no picture"),
        (Image.new("F", (4, 4)), "a Pillow image: a picture whose levels are not whole numbers"),
        (None, "a NoneType is no picture"),
        (7, "an? int is no picture"),
    ],
)
def test_what_is_no_picture(picture, message):
    with pytest.raises(ValueError, match=message):
        read_picture(picture)


def test_files_that_are_no_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_picture(tmp_path / "gone.png")
    for content in (b"", b"a text that was renamed"):
        (tmp_path / "text.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"text\.png: "):
            read_picture(tmp_path / "text.png")
    Image.effect_noise((200, 200), 90).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"cut\.jpg: "):
        read_picture(tmp_path / "cut.jpg")
