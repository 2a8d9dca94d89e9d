"""`segment_raster`: a GeoTIFF of labels at the same place, equal to the labels of the whole image, in bounded memory.

Shape shorthand: H x W pixels, C channels, K classes.
"""

import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from helpers.tiny_models import build, use_windows
from segvit.classes.class_list import ClassList
from segvit.errors import UserError
from segvit.geo import RasterImage, is_georeferenced, segment_raster, tiled_prediction
from segvit.images import ImageFormat
from segvit.inference.loaded_model import LoadedModel
from segvit.inference.predictor import SegViTPredictor
from segvit.modeling.postprocessing.sliding_window import SlidingWindow

SIZE, IGNORED = (100, 150), 255
PLACE = {"crs": "EPSG:32633", "transform": from_origin(400000, 5000000, 10, 10)}


def write_raster(path, array, *, block=16, **options):
    """Write (C, H, W) in tiles."""
    tiles = {"tiled": True, "blockxsize": block, "blockysize": block}
    settings = {"count": len(array), "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
    with rasterio.open(path, "w", driver="GTiff", **settings, **tiles, **options) as file:
        file.write(array)
    return path


@pytest.fixture
def make_predictor(tiny_cfg):
    def make(channels=5, levels="raw", **window):
        tiny_cfg.INPUT.CHANNELS, tiny_cfg.INPUT.LEVELS = channels, levels
        tiny_cfg.MODEL.PIXEL_MEAN, tiny_cfg.MODEL.PIXEL_STD = channels * [100.0], channels * [50.0]
        tiny_cfg.TEST.LABELS_ONLY = True
        if window:
            use_windows(tiny_cfg, **window)
        model = build(tiny_cfg)
        return SegViTPredictor.of(LoadedModel(tiny_cfg, model, ClassList.numbered(5)), array_format="RGB")

    return make


def random_image(channels, dtype=np.float32, size=SIZE):
    coarse = np.random.default_rng(0).random((channels, -(-size[0] // 10), -(-size[1] // 10))) * 250
    return coarse.repeat(10, axis=1).repeat(10, axis=2)[:, : size[0], : size[1]].astype(dtype)


def labels_in(path):
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.parametrize("levels", ["raw", "percentile", "8bit"])
def test_labels_equal_those_of_the_whole_image_in_memory(make_predictor, tmp_path, levels, monkeypatch):
    predictor = make_predictor(levels=levels, SIZE=[32, 48], STRIDE=[21, 32])
    image = random_image(5, np.uint8 if levels == "8bit" else np.float32)
    source = write_raster(tmp_path / "a.tif", image, **PLACE)
    expected = predictor(source)
    assert len(np.unique(expected)) > 1
    for tile, strip_bytes in ((512, 2**20), (16, 4 * 5 * 32 * 48)):  # one block; four of 48 columns
        monkeypatch.setattr(tiled_prediction, "TILE", tile)
        monkeypatch.setattr(tiled_prediction, "STRIP_BYTES", strip_bytes)
        segment_raster(predictor, source, tmp_path / "labels.tif", progress=False)
        assert (labels_in(tmp_path / "labels.tif") == expected).mean() > 0.9999


def test_the_place_palette_and_pixels_without_data_are_kept(make_predictor, tmp_path):
    image = random_image(5)
    image[:, :10] = image[:, :, 140:] = -9999
    image[0, 20, 20] = -9999
    source = write_raster(tmp_path / "a.tif", image, nodata=-9999, **PLACE)
    predictor = make_predictor()
    segment_raster(predictor, source, tmp_path / "out" / "labels.tif", progress=False)
    with rasterio.open(tmp_path / "out" / "labels.tif") as file:
        assert file.crs.to_epsg() == 32633 and file.transform == PLACE["transform"] and file.shape == SIZE
        assert file.nodata == IGNORED and file.dtypes == ("uint8",)
        colors = [file.colormap(1)[index][:3] for index in range(5)]
        labels = file.read(1)
    assert colors == [tuple(color) for color in predictor.class_colors]
    assert (labels[:10] == IGNORED).all() and (labels[:, 140:] == IGNORED).all()
    assert (labels[10:, :140] < 5).all(), "a pixel with data in some channel has a class"


def test_an_error_leaves_no_file_and_names_the_source(make_predictor, tmp_path):
    source = write_raster(tmp_path / "four.tif", random_image(4))
    with pytest.raises(UserError, match=r"four\.tif.*INPUT\.CHANNELS"):
        segment_raster(make_predictor(), source, tmp_path / "labels.tif", progress=False)
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(UserError, match=r"text\.tif"):
        segment_raster(make_predictor(), tmp_path / "text.tif", tmp_path / "labels.tif", progress=False)
    assert not list(tmp_path.glob("*labels*"))


def test_an_interruption_leaves_no_file(make_predictor, tmp_path, monkeypatch):
    source = write_raster(tmp_path / "a.tif", random_image(5), **PLACE)
    written = []

    def interrupt(labels, *place):
        written.extend(tmp_path.glob(".labels*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(RasterImage, "has_data", interrupt)
    with pytest.raises(KeyboardInterrupt):
        segment_raster(make_predictor(), source, tmp_path / "labels.tif", progress=False)
    assert len(written) == 1 and [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_place_on_a_map_is_recognized(tmp_path):
    assert is_georeferenced(write_raster(tmp_path / "a.tif", random_image(1), **PLACE))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        assert not is_georeferenced(write_raster(tmp_path / "b.tif", random_image(1)))
    (tmp_path / "text.tif").write_text("no image")
    assert not is_georeferenced(tmp_path / "text.tif") and not is_georeferenced(tmp_path / "gone.tif")


def test_parts_of_three_channels_follow_the_order_of_the_config(tmp_path):
    image = random_image(3, np.uint8)
    source = write_raster(tmp_path / "a.tif", image, **PLACE)
    for order, channels in (("RGB", image), ("BGR", image[::-1])):
        with RasterImage(source, ImageFormat(order=order)) as raster:
            assert np.array_equal(raster.read(7, 9, 20, 30), channels[:, 7:27, 9:39].transpose(1, 2, 0))


@pytest.mark.parametrize("block", [16, 512])
def test_a_reduced_image_decodes_each_block_once(tmp_path, block):
    image = random_image(3, np.uint8, (1000, 1500))
    source = write_raster(tmp_path / "a.tif", image, block=block, compress="deflate", **PLACE)
    with RasterImage(source, ImageFormat()) as raster:
        start = time.process_time()
        raster.read(0, 0, 1000, 1500)
        whole = time.process_time() - start
        reduced = raster.reduced(300)
        assert time.process_time() - start < 20 * whole + 0.1
    assert reduced.shape == (200, 300, 3)
    assert np.array_equal(reduced, image.transpose(1, 2, 0)[2::5, 2::5])


MEMORY = """
    import resource, sys
    import numpy as np, rasterio, torch
    from types import SimpleNamespace
    from segvit.geo import tiled_prediction as tiled
    from segvit.images import ImageFormat
    from segvit.modeling.postprocessing.sliding_window import SlidingWindow

    def scores(windows):  # of a model without any memory of its own
        return [torch.stack([window.mean(0), 255 - window.mean(0)]) for window in windows.float()]

    windows = SlidingWindow(size=(256, 256), stride=(170, 170), batch_size=1, accumulate_on_cpu=True)
    head = SimpleNamespace(IGNORE_VALUE=255)
    predictor = SimpleNamespace(
        image_format=ImageFormat(), num_classes=2, class_names=("a", "b"), class_colors=((1, 2, 3), (4, 5, 6)),
        model=SimpleNamespace(windows=windows, network=SimpleNamespace(scores=scores)),
        cfg=SimpleNamespace(MODEL=SimpleNamespace(SEM_SEG_HEAD=head)),
    )
    tiled.STRIP_BYTES = 2**22
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tiled.segment_raster(predictor, sys.argv[1], sys.argv[2], progress=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")
def test_memory_does_not_grow_with_the_image(tmp_path):
    """6144 x 6144 pixels are 113 MB, their scores 302 MB: the peak is below both."""
    side = 6144
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "sparse_ok": True, **PLACE}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=side, width=side, count=3, dtype="uint8", **options
    ) as file:
        file.write(np.full((3, 100, 100), 200, np.uint8), window=rasterio.windows.Window(3000, 3000, 100, 100))
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), str(tmp_path / "a.tif"), str(tmp_path / "labels.tif")]
    added = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024
    labels = labels_in(tmp_path / "labels.tif")
    assert (labels[3001:3099, 3001:3099] == 0).all() and (labels == 0).sum() == 10000
    assert added < 100, f"{added:.0f} MB were added"


def test_bands_of_some_columns_are_those_of_the_whole():
    import torch

    image = torch.randn(3, 50, 70)
    windows = SlidingWindow(size=(20, 24), stride=(13, 10), batch_size=3, accumulate_on_cpu=False)

    def scorer(batch):
        return [window[:2] * torch.arange(1, 25) for window in batch]

    def read(top, left, height, width, columns):
        assert columns[0] <= left and left + width <= columns[1]
        return image[:, top : top + height, left : left + width]

    whole = torch.cat(list(windows.bands(image, scorer)), dim=1)
    for columns in ((0, 70), (0, 33), (33, 61), (61, 70)):
        part = torch.cat(list(windows.bands_of(read, (50, 70), scorer, columns=columns)), dim=1)
        assert torch.equal(part, whole[:, :, slice(*columns)])
