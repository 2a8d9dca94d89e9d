"""demo.py on TIFFs: a georeferenced one, and a large one, become GeoTIFFs of labels; a small one stays an image."""

import runpy
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from detectron2.modeling import build_model
from PIL import Image
from rasterio.transform import from_origin

import segvit
from helpers.tiny_models import use_windows

DEMO = Path(segvit.__file__).parents[1] / "demo" / "demo.py"
TRANSFORM = from_origin(400000, 5000000, 10, 10)


def test_tiffs_with_a_place_or_many_pixels_become_geotiffs(tiny_cfg, tmp_path, monkeypatch, capsys):
    tiny_cfg.INPUT.CHANNELS, tiny_cfg.INPUT.LEVELS = 5, "raw"
    tiny_cfg.MODEL.PIXEL_MEAN, tiny_cfg.MODEL.PIXEL_STD = 5 * [0.5], 5 * [0.3]
    use_windows(tiny_cfg)
    torch.manual_seed(0)
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    image = np.random.default_rng(0).random((5, 40, 60), dtype=np.float32)
    options = {"count": 5, "height": 40, "width": 60, "dtype": "float32", "crs": "EPSG:32633", "transform": TRANSFORM}
    with rasterio.open(scenes / "placed.tif", "w", driver="GTiff", **options) as file:
        file.write(image)
    with rasterio.open(scenes / "holes.tif", "w", driver="GTiff", nodata=0, **options) as file:
        file.write(np.where(np.arange(60) < 20, 0, image))
    tifffile.imwrite(scenes / "plain.tif", image.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig")
    large = np.zeros((1100, 1000, 5), np.float32)
    tifffile.imwrite(scenes / "large.tif", large, photometric="minisblack", planarconfig="contig")
    tifffile.imwrite(scenes / "wrong.tif", image[0])

    command = ["demo.py", "--config-file", tmp_path / "config.yaml", "--weights", tmp_path / "model.pth"]
    command += ["--input", scenes, "--output", tmp_path / "results", "--megapixels", "1"]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in command])
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(DEMO), run_name="__main__")
    signal.signal(signal.SIGTERM, handler)
    errors = capsys.readouterr().err

    assert end.value.code == 1 and "wrong.tif" in errors and "INPUT.CHANNELS" in errors
    with rasterio.open(tmp_path / "results" / "labels" / "placed.tif") as file:
        placed = file.read(1)
        assert file.transform == TRANSFORM and file.crs.to_epsg() == 32633
    with rasterio.open(tmp_path / "results" / "labels" / "holes.tif") as file:
        assert file.nodata == 255 and np.array_equal(file.read(1) == 255, np.arange(60)[None] < 20 + np.zeros((40, 1)))
    with Image.open(tmp_path / "results" / "labels" / "plain.png") as plain:
        assert (np.asarray(plain) == placed).mean() > 0.999
    with rasterio.open(tmp_path / "results" / "labels" / "large.tif") as file:
        assert file.shape == (1100, 1000)
    overlays = {path.name for path in (tmp_path / "results" / "overlays").iterdir()}
    assert overlays == {"placed.png", "holes.png", "plain.png", "large.png"}
