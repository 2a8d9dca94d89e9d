"""Fixtures of the web page's tests: a tiny model with random weights, and uploads of every kind."""

import contextlib
import os
import shutil
from unittest.mock import patch

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from helpers.costly_images import png_of_size
from helpers.page_client import TIMEOUT, PageClient
from helpers.tiny_models import tiny_config
from segvit.inference import SegViTPredictor
from segvit.web.analysis import ImageAnalyzer
from segvit.web.limits import UploadLimits


def save_tiny_model(folder, cfg):
    """A model with Shrunk++ and random weights: the paths of its config and its weights."""
    vit, segvit = cfg.MODEL.VIT, cfg.MODEL.SEGVIT
    vit.REDUCTION, vit.REDUCTION_BLOCK, vit.OUT_INDICES, vit.EDGE.THRESHOLD = "shrunk++", 1, [0, 2], 0.5
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
    segvit.QUERY_UPSAMPLING, segvit.OUTPUT = "nearest", "diagonal"
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 128
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder / "config.yaml", folder / "model.pth"


@pytest.fixture
def tiny_model(tiny_cfg, tmp_path):
    return save_tiny_model(tmp_path, tiny_cfg)


@pytest.fixture
def predictor(tiny_model):
    return SegViTPredictor(*tiny_model)


@contextlib.contextmanager
def open_page(folder, *, seconds):
    """The address of a running page, which stores its files in folder/served.

    Args:
        seconds: the limit of decoding.
    """
    from segvit.web.server import running_page

    analyzer = ImageAnalyzer(
        SegViTPredictor(*save_tiny_model(folder, tiny_config())),
        limits=UploadLimits(max_megabytes=0.19, seconds=seconds),
    )
    (folder / "served").mkdir()
    with (
        patch.dict(os.environ, GRADIO_ANALYTICS_ENABLED="False"),  # restores those that the page sets, too
        running_page(analyzer, folder=folder / "served", host="127.0.0.1", port=0, max_waiting=2) as address,
    ):
        yield address


@pytest.fixture(scope="module")
def shared_page(tmp_path_factory):
    """A page for all tests of a file, because it takes a second to start: its address and its folder."""
    folder = tmp_path_factory.mktemp("page")
    with open_page(folder, seconds=TIMEOUT) as address:  # a busy machine keeps this limit
        yield address, folder / "served"


@pytest.fixture
def page_client(shared_page):
    """A client of the shared page, in a session of its own; the files that it leaves are deleted."""
    address, folder = shared_page
    before = set(folder.iterdir())
    with PageClient(address, folder) as client:
        yield client
    for path in set(folder.iterdir()) - before:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture
def own_page_client(tmp_path):
    """A factory of clients of pages for one test alone."""
    with contextlib.ExitStack() as stack:

        def start(*, seconds=TIMEOUT):
            address = stack.enter_context(open_page(tmp_path, seconds=seconds))
            return stack.enter_context(PageClient(address, tmp_path / "served"))

        yield start


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
