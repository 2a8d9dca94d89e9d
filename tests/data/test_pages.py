"""Image files with several pages: the first is read, and a warning names the file and the number of pages."""

import logging

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from segvit import image_levels
from segvit.image_levels import page_count
from segvit.image_reading import open_image, read_image

PAGES = [Image.fromarray(np.full((20, 30, 3), level, np.uint8)) for level in (10, 120, 240)]


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(image_levels, "_reported", set())


@pytest.mark.parametrize("extension", ["tif", "gif", "png", "webp"])
def test_the_first_page_is_read_and_the_file_named_once(tmp_path, caplog, extension):
    files = [tmp_path / f"{name}.{extension}" for name in "ab"]
    for file in files:
        PAGES[0].save(file, save_all=True, append_images=PAGES[1:])
    with caplog.at_level(logging.WARNING):
        for file in files:
            assert abs(int(read_image(file, format="RGB").max()) - 10) < 5
    (record,) = caplog.records
    assert str(files[0]) in record.getMessage() and "3 images" in record.getMessage()


def test_the_first_of_several_16_bit_pages_is_read(tmp_path, caplog):
    grey = [Image.fromarray(np.full((8, 9), level, np.uint16)) for level in (20000, 60000)]
    grey[0].save(tmp_path / "a.tif", save_all=True, append_images=grey[1:])
    assert (read_image(tmp_path / "a.tif", format="RGB") == 20000 // 256).all()
    assert "2 images" in caplog.text


def test_thumbnails_and_single_images_give_no_warning(tmp_path, caplog):
    reduced = TiffImagePlugin.ImageFileDirectory_v2()
    reduced[254] = 1
    small = PAGES[0].resize((15, 10))
    small.encoderinfo = {"tiffinfo": reduced}
    PAGES[0].save(tmp_path / "pyramid.tif", save_all=True, append_images=[small])
    PAGES[0].save(tmp_path / "single.tif")
    for name in ("pyramid.tif", "single.tif"):
        with open_image(tmp_path / name) as image:
            assert page_count(image) == 1
        assert (read_image(tmp_path / name, format="RGB") == 10).all()
    assert not caplog.records
