"""Fixtures of the web page's tests: a tiny model with random weights, and uploads of every kind."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from helpers.costly_images import png_of_size
from helpers.page_client import TIMEOUT, PageClient
from segvit.inference import SegViTPredictor
from segvit.web.analysis import ImageAnalyzer
from segvit.web.limits import UploadLimits


@pytest.fixture
def tiny_model(tiny_cfg, tmp_path):
    """Paths of the config and the weights of a model with Shrunk++."""
    vit, segvit = tiny_cfg.MODEL.VIT, tiny_cfg.MODEL.SEGVIT
    vit.REDUCTION, vit.REDUCTION_BLOCK, vit.OUT_INDICES, vit.EDGE.THRESHOLD = "shrunk++", 1, [0, 2], 0.5
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
    segvit.QUERY_UPSAMPLING, segvit.OUTPUT = "nearest", "diagonal"
    tiny_cfg.INPUT.MIN_SIZE_TEST, tiny_cfg.INPUT.MAX_SIZE_TEST = 64, 128
    torch.manual_seed(0)
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    return tmp_path / "config.yaml", tmp_path / "model.pth"


@pytest.fixture
def predictor(tiny_model):
    return SegViTPredictor(*tiny_model)


@pytest.fixture
def decoding_seconds():
    """The page's limit, which a busy machine keeps; tests of slow images set a shorter one."""
    return TIMEOUT


@pytest.fixture
def page_client(predictor, tmp_path, monkeypatch, decoding_seconds):
    """A client of a running page, which stores its files in tmp_path/served."""
    from segvit.web.server import running_page

    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    folder = tmp_path / "served"
    folder.mkdir()
    analyzer = ImageAnalyzer(predictor, limits=UploadLimits(max_megabytes=0.19, seconds=decoding_seconds))
    with (
        running_page(analyzer, folder=folder, host="127.0.0.1", port=0, max_waiting=2) as address,
        PageClient(address, folder) as client,
    ):
        yield client


def noise(height=60, width=88):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def make_upload(tmp_path):
    """A factory of files to upload, by kind."""

    def palette():
        return Image.fromarray(noise()).quantize(16)

    def alpha():
        return Image.fromarray(np.dstack([noise(), noise()[..., :1]]))

    def levels():
        return Image.fromarray(noise()[..., 0].astype(np.uint16) * 257)

    makers = {"plain": lambda: Image.fromarray(noise()), "palette": palette, "alpha": alpha, "16-bit": levels}

    def make(kind):
        path = tmp_path / f"{kind}.png"
        if kind == "text":
            path.write_text("not an image")
        elif kind == "empty":
            path.touch()
        elif kind.endswith("-megapixel"):
            side = round(1000 * int(kind.removesuffix("-megapixel")) ** 0.5)
            path.write_bytes(png_of_size(side, side, rows=0))
        elif kind == "truncated":
            Image.fromarray(noise()).save(path)
            path.write_bytes(path.read_bytes()[:2000])
        else:
            makers[kind]().save(path)
        return path

    return make
