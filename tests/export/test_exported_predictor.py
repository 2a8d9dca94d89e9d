"""`SegViTPredictor` of ONNX and OpenVINO files gives the results of its model, also in 8-bit integers; refusals.

Shape shorthand: H x W pixels, K classes.
"""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
import tifffile
import torch

import segvit
from segvit.errors import UserError
from segvit.export import FORMATS, ImageSize, formats, load_source, write_precision
from segvit.inference import SegViTPredictor
from segvit.inference.inspect_image import inspect_image

pytest.importorskip("onnxruntime")
NAMES = ("road", "sky", "car")
OPTIONS = {"patch_size": 8, "embed_dim": 48, "vit_num_heads": 3, "segvit_init_std": 0.2, "vit_init_std": 0.1}
WINDOWS = ["TEST.WINDOW.ENABLED", "True", "TEST.WINDOW.SIZE", "[32, 48]", "TEST.WINDOW.STRIDE", "[21, 32]"]


def make_model(*, depth=1, **options):
    """A model whose masks decide, so that several classes win. An exporter takes seconds for each block."""
    torch.manual_seed(0)
    options = {"img_size": (32, 48), "output": "diagonal", "depth": depth, **OPTIONS, **options}
    model = segvit.create_model("vit_tiny_patch16_224", classes=NAMES, **options)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "class_embed" in name:
                value.zero_()
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = make_model(depth=3)
    folder = tmp_path_factory.mktemp("exported") / "model"
    model.cfg.INPUT.MIN_SIZE_TEST, model.cfg.INPUT.MAX_SIZE_TEST = 40, 100
    model.cfg.TEST.CONFIDENCE_TEMPERATURE, model.cfg.INPUT.FORMAT = 1.7, "BGR"
    model.save_pretrained(folder)
    (folder / "metrics.json").write_text('{"mIoU": 61.25, "IoU-sky": 90.0}')
    return folder


def export(folder, target, name, *, gives_labels=False, is_dynamic=True, pixels=None, **low):
    from segvit.d2 import load_config

    source = load_source(load_config(folder))
    size = ImageSize(32, 48, is_dynamic=is_dynamic, patch_size=source.patch_size, **pixels or {})
    metadata = {**source.metadata, "result": json.dumps("labels" if gives_labels else "scores")}
    metadata["smallest_side"] = json.dumps(size.smallest)
    segmenter, path = source.segmenter(gives_labels=gives_labels), target / f"model{FORMATS[name].extension}"
    if low:
        write_precision(segmenter, size, metadata, path, **low)
    else:
        FORMATS[name].write(segmenter, size, metadata, path)
    return path


@pytest.fixture(scope="module")
def onnx_file(folder):
    return export(folder, folder.parent, "onnx")


def use_exported(onnx_file, monkeypatch):
    """Files of other formats, by way of ONNX, are made of this file in place of the same export once more."""
    monkeypatch.setattr(formats, "write_onnx", lambda segmenter, size, metadata, path: shutil.copy(onnx_file, path))


@pytest.fixture
def image():
    coarse = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 255
    return torch.nn.functional.interpolate(coarse, size=(66, 95), mode="bilinear")[0].permute(1, 2, 0).byte().numpy()


def require_equal(file, folder, image, opts=()):
    """Labels, scores, confidence, names and colours of file and folder are equal."""
    exported, model = (SegViTPredictor(one, opts=opts, array_format="RGB") for one in (file, folder))
    assert exported.class_names == model.class_names == NAMES and exported.class_colors == model.class_colors
    # The metrics are those of whole images.
    assert exported.metrics == model.metrics == ({} if opts else {"mIoU": 61.25, "IoU-sky": 90.0})
    assert exported.cfg.INPUT == model.cfg.INPUT and exported.cfg.TEST == model.cfg.TEST
    images = [image, image[:50], image]
    for result, expected in zip(exported.predict(images), model.predict(images), strict=True):
        assert len(np.unique(expected.labels)) > 1 and (result.labels == expected.labels).mean() >= 0.9999
        assert result.labels.dtype == expected.labels.dtype
        np.testing.assert_allclose(result.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(result.confidence, expected.confidence, atol=1e-3)


@pytest.mark.parametrize("opts", [[], WINDOWS])
def test_an_onnx_file_is_its_model(onnx_file, folder, image, opts):
    require_equal(onnx_file, folder, image, opts)


def test_an_openvino_file_is_its_model(folder, onnx_file, image, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    use_exported(onnx_file, monkeypatch)
    require_equal(export(folder, tmp_path, "openvino"), folder, image)


def test_files_of_five_channels_of_floating_point_levels_are_their_model(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    make_model(channels=5, levels="raw", segvit_init_std=0.5).save_pretrained(folder)
    levels = np.random.default_rng(0).normal(size=(9, 12, 5)).astype(np.float32).repeat(5, axis=0).repeat(5, axis=1)
    tifffile.imwrite(tmp_path / "a.tif", levels, photometric="minisblack", planarconfig="contig")
    expected = SegViTPredictor(folder)(tmp_path / "a.tif")
    for name in ("onnx", "openvino") if find_spec("openvino") else ("onnx",):
        path = export(folder, tmp_path, name, pixels={"channels": 5, "dtype": torch.float32})
        use_exported(tmp_path / "model.onnx", monkeypatch)
        exported = SegViTPredictor(path)(tmp_path / "a.tif")
        assert len(np.unique(expected)) > 1 and (exported == expected).mean() >= 0.9999, name
        with pytest.raises(UserError, match=r"INPUT\.CHANNELS"):
            SegViTPredictor(path)(np.zeros((20, 30, 4), np.float32))


def test_files_of_8_bit_integers_carry_classes_and_keep_most_labels(folder, onnx_file, image, tmp_path, monkeypatch):
    use_exported(onnx_file, monkeypatch)
    calibration = [torch.from_numpy(image.transpose(2, 0, 1).copy())[None]]
    path = export(folder, tmp_path, "onnx", precision="int8", images=calibration)
    weights = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.INT8 in weights
    quantized, model = (SegViTPredictor(one, array_format="RGB") for one in (path, folder))
    assert quantized.class_names == NAMES and quantized.cfg.TEST.CONFIDENCE_TEMPERATURE == 1.7
    scores, expected = (one(image, output="scores") for one in (quantized, model))
    assert 0 < np.abs(scores - expected).max() < 0.2


def test_a_file_of_labels_for_one_size(image, tmp_path):
    make_model().save_pretrained(tmp_path / "model")
    path = export(tmp_path / "model", tmp_path, "onnx", gives_labels=True, is_dynamic=False)
    predictor = SegViTPredictor(path)
    assert predictor(image).shape == image.shape[:2] and predictor(image).dtype == np.uint8
    with pytest.raises(UserError, match=r"model\.onnx returns labels alone.*--result scores"):
        predictor(image, output="confidence")
    with pytest.raises(UserError, match=r"TEST\.WINDOW\.ENABLED"):
        SegViTPredictor(path, opts=WINDOWS)


@pytest.mark.parametrize(
    ("opts", "key"),
    [
        (["MODEL.SEGVIT.OUTPUT", "mix"], r"MODEL\.SEGVIT\.OUTPUT"),
        (["TEST.AUG.ENABLED", "True"], r"TEST\.AUG\.ENABLED"),
        (["MODEL.DEVICE", "cuda"], r"MODEL\.DEVICE"),
        (["INPUT.MIN_SIZE_TEST", "9"], "at least 17 pixels"),
    ],
)
def test_what_a_file_cannot_do_is_refused_by_name(onnx_file, image, opts, key):
    with pytest.raises(UserError, match=key):
        SegViTPredictor(onnx_file, opts=opts)(image)


def test_other_files_and_other_uses_are_refused(onnx_file, folder, image, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        SegViTPredictor(tmp_path / "missing.onnx")
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"damaged\.onnx"):
        SegViTPredictor(tmp_path / "damaged.onnx")
    with pytest.raises(UserError, match="leave out"):
        SegViTPredictor(onnx_file, folder / "model.safetensors")
    with pytest.raises(UserError, match="model folder"):
        inspect_image(SegViTPredictor(onnx_file), image)


def test_a_file_segments_large_rasters_in_its_own_windows(folder, onnx_file, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    from segvit.geo import segment_raster

    image = np.random.default_rng(0).integers(0, 256, (3, 70, 100), dtype=np.uint8)
    with rasterio.open(
        tmp_path / "image.tif", "w", driver="GTiff", count=3, height=70, width=100, dtype="uint8"
    ) as file:
        file.write(image)
    labels = []
    for model in (folder, onnx_file):
        segment_raster(SegViTPredictor(model), tmp_path / "image.tif", tmp_path / "labels.tif")
        labels.append(rasterio.open(tmp_path / "labels.tif").read(1))
    assert len(np.unique(labels[0])) > 1
    assert np.mean(labels[0] == labels[1]) > 0.999
