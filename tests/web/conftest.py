"""Fixtures of the web page's tests: a tiny model with random weights, and uploads of every kind."""

import zlib

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from segvit.inference import SegViTPredictor


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


def noise(height=60, width=88):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_of_size(side):
    """The bytes of a black PNG whose header announces side x side pixels; the pixels themselves are missing."""
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])  # One bit, greyscale.
    data = b"IDAT" + zlib.compress(b"")
    chunks = [
        len(chunk[4:]).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") for chunk in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


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
            path.write_bytes(png_of_size(round(1000 * int(kind.removesuffix("-megapixel")) ** 0.5)))
        elif kind == "truncated":
            Image.fromarray(noise()).save(path)
            path.write_bytes(path.read_bytes()[:2000])
        else:
            makers[kind]().save(path)
        return path

    return make
