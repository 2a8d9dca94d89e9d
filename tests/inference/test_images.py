"""`load_image`: files, Pillow images and arrays of every mode become upright (H, W, 3) uint8 arrays.

Shape shorthand: H x W pixels.
"""

import numpy as np
import pytest
from PIL import Image

from segvit.inference import load_image

HEIGHT, WIDTH = 5, 7


@pytest.fixture
def colors():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def through_file(image, folder, extension="png", **options):
    image.save(folder / f"image.{extension}", **options)
    return load_image(folder / f"image.{extension}")


def test_channels_are_returned_in_the_requested_order(colors):
    assert np.array_equal(load_image(colors, format="RGB", array_format="RGB"), colors)
    assert np.array_equal(load_image(colors, format="BGR", array_format="BGR"), colors)
    assert np.array_equal(load_image(colors), colors[:, :, ::-1])
    image = Image.fromarray(colors)
    assert np.array_equal(load_image(image), colors)
    assert np.array_equal(load_image(image, format="BGR"), colors[:, :, ::-1])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_alpha_is_dropped(colors, mode, tmp_path):
    image = Image.fromarray(colors).convert(mode)
    if mode == "RGBA":
        image.putalpha(7)
        with_alpha = np.asarray(image)
        assert np.array_equal(load_image(with_alpha, array_format="RGB"), colors)
        assert np.array_equal(load_image(with_alpha[:, :, [2, 1, 0, 3]]), colors)
    assert np.array_equal(load_image(image), colors)
    assert np.array_equal(through_file(image, tmp_path), colors)


def test_greyscale_becomes_three_equal_channels(colors, tmp_path):
    grey = colors[:, :, 0]
    expected = np.stack([grey] * 3, axis=2)
    for image in (grey, grey[:, :, None], Image.fromarray(grey)):
        assert np.array_equal(load_image(image), expected)
    assert np.array_equal(through_file(Image.fromarray(grey), tmp_path), expected)
    with_alpha = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(grey)])
    assert np.array_equal(through_file(with_alpha, tmp_path), expected)
    one_bit = Image.fromarray(grey > 127)
    assert set(np.unique(through_file(one_bit, tmp_path))) == {0, 255}


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bit_images_keep_the_upper_eight_bits(colors, extension, tmp_path):
    grey = colors[:, :, 0]
    levels = grey.astype(np.uint16) * 256 + 99
    expected = np.stack([grey] * 3, axis=2)
    assert np.array_equal(through_file(Image.fromarray(levels), tmp_path, extension), expected)
    assert np.array_equal(load_image(levels), expected)
    assert np.array_equal(load_image(colors.astype(np.uint16) * 256 + 3), colors[:, :, ::-1])
    assert np.array_equal(load_image(levels.astype(">u2")), expected)


def test_palette_images_are_read_by_their_palette(tmp_path):
    indices = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 3
    palette = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]], dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    for options in ({}, {"transparency": 1}):
        assert np.array_equal(through_file(image, tmp_path, **options), palette[indices])


def test_cmyk_images_have_three_channels(colors, tmp_path):
    assert through_file(Image.fromarray(colors).convert("CMYK"), tmp_path, "tif").shape == colors.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, tmp_path):
    """An image stored in any of the eight orientations is read upright."""
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:16, :24] = (255, 0, 0)
    upright[16:, 24:] = (0, 0, 255)
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    undo |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    stored = Image.fromarray(upright)
    if orientation in undo:
        stored = stored.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = through_file(stored, tmp_path, "jpg", exif=exif, quality=100, subsampling=0)
    with Image.open(tmp_path / "image.jpg") as image:
        assert np.array_equal(load_image(image), read)
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < 3


def test_an_animation_is_read_as_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("red", "blue")]
    read = through_file(frames[0], tmp_path, "gif", save_all=True, append_images=frames[1:])
    assert (read == [255, 0, 0]).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), dtype=np.float32), "float32"),
        (np.zeros((4, 4), dtype=np.int64), "int64"),
        (np.zeros((4, 4, 2), dtype=np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((3, 4, 4, 3), dtype=np.uint8), r"shape \(3, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"shape \(0, 4, 3\)"),
        (Image.new("F", (4, 4)), "a Pillow image: "),
        (None, "NoneType"),
        (7, "int"),
    ],
)
def test_other_inputs_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        load_image(image)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        load_image(tmp_path / "gone.png")
    for content in (b"", b"a text that was renamed"):
        (tmp_path / "text.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"text\.png: "):
            load_image(tmp_path / "text.png")
    Image.effect_noise((200, 200), 90).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"cut\.jpg: "):
        load_image(tmp_path / "cut.jpg")
