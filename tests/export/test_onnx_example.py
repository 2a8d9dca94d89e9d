"""demo/onnx_example.py reads images as training does, writes ids above 255, and explains its options."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.processes import run_program
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.image_reading import read_image

pytest.importorskip("onnxruntime")


@pytest.fixture
def example():
    return load_script(PROJECT / "demo" / "onnx_example.py")


@pytest.mark.parametrize("extension", ["png", "tif"])
@pytest.mark.parametrize("max_level", [0, 255, 4095])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_are_read_as_in_training(example, tmp_path, extension, max_level, dtype):
    levels = (np.arange(60).reshape(6, 10) * (4 if dtype == np.uint8 else 68)).astype(dtype)
    path = tmp_path / f"a.{extension}"
    assert cv2.imwrite(str(path), levels)
    expected = read_image(path, format="RGB", max_level=max_level)
    assert np.array_equal(np.asarray(example.read_image(str(path), max_level)), expected)


def test_deep_colours_with_another_white_level_are_refused(example, tmp_path):
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), np.full((4, 5, 3), 4000, np.uint16))
    with pytest.raises(SystemExit, match=r"a\.png.*4095"):
        example.read_image(str(path), 4095)
    assert np.array_equal(np.asarray(example.read_image(str(path), 0)), read_image(path, format="RGB"))


def test_ids_above_255_are_written(example, tmp_path, monkeypatch):
    labels = np.array([[[0, 299], [256, 7]]])
    values = {"palette": [[1, 2, 3]] * 300, "pixel_format": "RGB", "result": "labels", "max_level": 0}
    session = SimpleNamespace(
        get_modelmeta=lambda: SimpleNamespace(custom_metadata_map={k: json.dumps(v) for k, v in values.items()}),
        get_inputs=lambda: [SimpleNamespace(shape=(1, 3, 2, 2))],
        run=lambda outputs, inputs: [labels],
    )
    monkeypatch.setattr(example.onnxruntime, "InferenceSession", lambda *arguments, **options: session)
    Image.new("RGB", (2, 2)).save(tmp_path / "photo.png")
    example.segment("model.onnx", str(tmp_path / "photo.png")).save(tmp_path / "ids.png")
    with Image.open(tmp_path / "ids.png") as image:
        assert np.array_equal(np.asarray(image), labels[0])


def test_help():
    done = run_program(PROJECT / "demo" / "onnx_example.py", "--help")
    assert done.returncode == 0 and "model.onnx" in done.stdout
