"""`ImageFormat`: TIFF, PNG and NumPy files of 1 to 16 channels and any depth; wrong ones are errors with their name.

Shape shorthand: H x W pixels, C channels.
"""

import numpy as np
import pytest
import tifffile
from PIL import Image

from segvit.errors import UserError
from segvit.images import ImageFormat, image_format_of
from segvit.images.channel_files import stored_form

HEIGHT, WIDTH = 12, 17


def levels(channels, dtype=np.float32, high=250):
    noise = np.random.default_rng(channels).random((HEIGHT, WIDTH, channels)) * high
    return noise.astype(dtype)


def raw(channels, **values):
    return ImageFormat(channels=channels, levels="raw", fill=channels * (0.5,), **values)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 16])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_tiff_is_read_as_it_is_stored(tmp_path, channels, dtype, planar):
    expected = levels(channels, dtype)
    stored = expected if planar == "contig" else np.moveaxis(expected, -1, 0)
    if channels == 1:
        stored, planar = expected[..., 0], None
    options = {"photometric": "minisblack"} | ({"planarconfig": planar} if planar else {})
    tifffile.imwrite(tmp_path / "a.tif", stored, compression="zlib", **options)
    pixels = raw(channels).read(tmp_path / "a.tif")
    assert pixels.dtype == np.float32 and np.array_equal(pixels, expected.astype(np.float32))


@pytest.mark.parametrize("layout", ["(H, W, C)", "(C, H, W)"])
def test_an_array_file_has_its_channels_first_or_last(tmp_path, layout):
    expected = levels(5)
    np.save(tmp_path / "a.npy", expected if layout == "(H, W, C)" else np.moveaxis(expected, -1, 0))
    assert np.array_equal(raw(5).read(tmp_path / "a.npy"), expected)
    np.save(tmp_path / "b.npy", expected[..., 0])
    assert np.array_equal(raw(1).read(tmp_path / "b.npy"), expected[..., :1])


def test_as_rgb_a_tiff_of_five_channels_is_no_damaged_file(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", levels(5, np.uint16), photometric="minisblack", planarconfig="contig")
    with pytest.raises(UserError, match=r"a\.tif: .*5 channels of uint16.*--measure-channels"):
        ImageFormat().read(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:60])
    with pytest.raises(UserError, match=r"b\.tif: .*damaged"):
        ImageFormat().read(tmp_path / "b.tif")


def test_png_of_twelve_bits_and_with_alpha(tmp_path):
    grey = levels(1, np.uint16, high=4095)
    Image.fromarray(grey[..., 0]).save(tmp_path / "grey.png")
    assert np.array_equal(raw(1).read(tmp_path / "grey.png"), grey)
    as_bytes = ImageFormat(channels=1, max_level=4095).read(tmp_path / "grey.png")
    assert as_bytes.dtype == np.uint8 and np.array_equal(as_bytes, grey // 16)
    alpha = levels(4, np.uint8)
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    assert np.array_equal(ImageFormat(channels=4).read(tmp_path / "alpha.png"), alpha)


def test_three_channels_follow_the_order_of_the_config(tmp_path):
    colors = levels(3, np.uint16, high=60000)
    tifffile.imwrite(tmp_path / "a.tif", colors, photometric="rgb")
    assert np.array_equal(raw(3).read(tmp_path / "a.tif"), colors)
    assert np.array_equal(raw(3, order="BGR").read(tmp_path / "a.tif"), colors[..., ::-1])
    assert np.array_equal(raw(3, order="BGR").load(colors[..., ::-1], array_format="BGR"), colors[..., ::-1])


@pytest.mark.parametrize("kind", ["tif", "npy", "png"])
def test_a_wrong_number_of_channels_names_the_file(tmp_path, kind):
    path = tmp_path / f"scan.{kind}"
    if kind == "npy":
        np.save(path, levels(4))
    elif kind == "tif":
        tifffile.imwrite(path, levels(4, np.uint8), photometric="minisblack", planarconfig="contig")
    else:
        Image.fromarray(levels(3, np.uint8)).save(path)
    with pytest.raises(UserError, match=r"scan\.\w+.*INPUT\.CHANNELS"):
        raw(1 if kind == "png" else 5).read(path)


@pytest.mark.parametrize("kind", ["tif", "npy"])
def test_a_damaged_file_is_named(tmp_path, kind):
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(b"II*\0 and then nothing")
    with pytest.raises(UserError, match=r"cut\.\w+"):
        raw(5).read(path)
    with pytest.raises(OSError, match="gone"):
        raw(5).read(tmp_path / f"gone.{kind}")


def test_floats_need_another_key_than_8bit(tmp_path):
    np.save(tmp_path / "a.npy", levels(5))
    with pytest.raises(UserError, match=r"a\.npy.*INPUT\.LEVELS"):
        ImageFormat(channels=5).read(tmp_path / "a.npy")


def test_percentiles_of_each_channel_become_0_and_255():
    stored = levels(2) * np.float32([1, 1000]) + np.float32([0, 7])
    pixels = ImageFormat(channels=2, levels="percentile", percentiles=(10, 90), fill=(9, 9)).load(stored)
    assert pixels.dtype == np.float32 and pixels.min() == 0 and pixels.max() == 255
    for channel in range(2):
        low, high = np.percentile(stored[..., channel], (10, 90))
        inside = (stored[..., channel] > low) & (stored[..., channel] < high)
        expected = (stored[..., channel] - low) / (high - low) * 255
        np.testing.assert_allclose(pixels[..., channel][inside], expected[inside], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["raw", "percentile"])
def test_pixels_without_data_get_the_mean(tmp_path, kind):
    stored = levels(2)
    stored[0, 0], stored[1, 1, 1], stored[2, 2] = np.nan, np.inf, -9999
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric="minisblack",
        planarconfig="contig",
        extratags=[(42113, "s", 0, "-9999", True)],
    )
    pixels = ImageFormat(channels=2, levels=kind, fill=(3, 4)).read(tmp_path / "a.tif")
    assert pixels[0, 0].tolist() == pixels[2, 2].tolist() == [3, 4] and pixels[1, 1, 1] == 4
    assert np.isfinite(pixels).all() and pixels[5:].min() >= 0


def test_people_see_the_first_three_channels_or_those_they_ask_for():
    pixels = levels(5, np.uint8)
    assert np.array_equal(ImageFormat(channels=5).to_rgb(pixels), pixels[..., :3])
    assert np.array_equal(ImageFormat(channels=5, shown=(4, 2, 0)).to_rgb(pixels), pixels[..., [4, 2, 0]])
    grey = ImageFormat(channels=2).to_rgb(pixels[..., :2])
    assert np.array_equal(grey, np.repeat(pixels[..., :1], 3, axis=2))
    floats = raw(5).to_rgb(levels(5))
    assert floats.dtype == np.uint8 and floats.min() == 0 and floats.max() == 255


def test_the_format_of_a_config_travels_as_json(tiny_cfg):
    import json
    from dataclasses import asdict

    tiny_cfg.INPUT.CHANNELS, tiny_cfg.INPUT.LEVELS, tiny_cfg.INPUT.SHOWN_CHANNELS = 2, "percentile", [1]
    tiny_cfg.MODEL.PIXEL_MEAN = [1.0, 2.0]
    images = image_format_of(tiny_cfg)
    assert images == ImageFormat.from_json(json.dumps(asdict(images)))
    tiny_cfg.INPUT.SHOWN_CHANNELS = [2]
    with pytest.raises(UserError, match=r"INPUT\.SHOWN_CHANNELS"):
        image_format_of(tiny_cfg)


@pytest.mark.parametrize("shape", [(7, 9, 5), (9, 7, 5), (5, 7, 9), (5, 9, 7), (9, 7)])
def test_the_header_of_an_array_tells_its_size_upright(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    form = stored_form(tmp_path / "a.npy")
    assert form.size == tuple(length for length in shape if length != 5)
    assert (form.channels, form.dtype) == (5 if len(shape) == 3 else 1, np.float32)
