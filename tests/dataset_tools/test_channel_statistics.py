"""check_dataset.py --measure-channels: statistics of each channel, written as a config that trains."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.repository import CONFIGS
from helpers.scripts import load_script
from segvit.config.loading import load_config
from segvit.dataset_tools.channel_statistics import measure_channels
from segvit.errors import UserError
from segvit.images import ImageFormat

PROJECT = CONFIGS.parent


@pytest.fixture
def folder(tmp_path):
    """Two pairs of 5-channel images with levels far from 0, and a pixel without data."""
    draw = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "annotations"):
            (tmp_path / "data" / kind / split).mkdir(parents=True)
        for name in "ab":
            image = (draw.random((20, 30, 5)) * [1, 10, 100, 1, 1] + [0, 1e6, 0, -5, 7]).astype(np.float32)
            image[0, 0] = np.nan
            options = {"photometric": "minisblack", "planarconfig": "contig"}
            tifffile.imwrite(tmp_path / "data" / "images" / split / f"{name}.tif", image, **options)
            labels = draw.integers(0, 2, (20, 30)).astype(np.uint8)
            Image.fromarray(labels).save(tmp_path / "data" / "annotations" / split / f"{name}.png")
    (tmp_path / "data" / "classes.txt").write_text("one\ntwo\n")
    return tmp_path / "data"


def test_statistics_are_those_of_all_pixels_with_data(folder):
    files = sorted((folder / "images" / "train").iterdir())
    statistics = measure_channels(files, ImageFormat(channels=5, levels="raw", fill=5 * (0.0,)))
    pixels = np.concatenate([tifffile.imread(file).reshape(-1, 5)[1:] for file in files]).astype(np.float64)
    np.testing.assert_allclose(statistics.mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(statistics.std, pixels.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(statistics.percentiles[1], np.median(pixels, axis=0), rtol=1e-6)
    np.testing.assert_allclose(statistics.missing, 1 / 600)


def test_the_command_writes_a_config_that_loads(folder, tmp_path, capsys):
    written = tmp_path / "own.yaml"
    base = load_script(PROJECT / "tools" / "check_dataset.py")

    recipe = CONFIGS / "custom" / "segvit_scratch_320x240.yaml"
    arguments = [str(folder), "--measure-channels", str(written), "--base", str(recipe)]
    assert base.main(arguments) == 0
    assert "1 %" in capsys.readouterr().out
    cfg = load_config(written, ["DATASETS.FOLDER", str(folder)])
    assert cfg.INPUT.CHANNELS == 5 and cfg.INPUT.LEVELS == "raw"
    assert len(cfg.MODEL.PIXEL_MEAN) == len(cfg.MODEL.PIXEL_STD) == 5 and abs(cfg.MODEL.PIXEL_MEAN[1] - 1000005) < 2
    with pytest.raises(SystemExit):
        base.main(arguments)
    assert "own.yaml" in capsys.readouterr().err


def test_statistics_of_another_length_than_the_channels_are_refused():
    with pytest.raises(UserError, match=r"MODEL\.PIXEL_MEAN.*--measure-channels"):
        load_config(CONFIGS / "Base-SegViT.yaml", ["INPUT.CHANNELS", "5"])
