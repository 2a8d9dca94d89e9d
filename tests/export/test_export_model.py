"""Exported files agree with their models on images and batch sizes that the exporter did not see.

Shape shorthand: B images, H x W pixels, K classes.
"""

import importlib.util
import json
import warnings

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from PIL import Image

from helpers.processes import run_program
from helpers.repository import PROJECT
from segvit.export import FORMATS, ExportError, ImageSize, load_source, require_agreement

pytest.importorskip("onnxruntime")
K = 5


def with_reduction(cfg, kind, upsampling):
    cfg.MODEL.VIT.REDUCTION, cfg.MODEL.VIT.REDUCTION_BLOCK = kind, 2
    cfg.MODEL.SEGVIT.QUERY_UPSAMPLING, cfg.MODEL.SEGVIT.UPSAMPLING_LAYERS = upsampling, 1
    cfg.MODEL.VIT.EDGE.SELECTION = "topk"


def of_kind(cfg, kind):
    cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    if kind == "shrunk":
        with_reduction(cfg, "shrunk", "learned")
    elif kind == "shrunk++":
        with_reduction(cfg, "shrunk++", "nearest")
    return cfg


def save_weights(cfg, folder):
    torch.manual_seed(0)
    cfg.MODEL.WEIGHTS = ""
    DetectionCheckpointer(build_model(cfg), save_dir=str(folder)).save("model")
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    return cfg


def export(cfg, folder, name, *, gives_labels=False, is_dynamic=True):
    """Export a config's model: the path of the file, the source and the image size."""
    source = load_source(save_weights(cfg, folder))
    size = ImageSize(32, 48, is_dynamic=is_dynamic, patch_size=source.patch_size)
    path = folder / f"model{FORMATS[name].extension}"
    FORMATS[name].write(source.segmenter(gives_labels=gives_labels), size, {**source.metadata, "result": "{}"}, path)
    return path, source, size


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shrunk", "shrunk++"])
def test_onnx_of_any_size(tiny_cfg, tmp_path, kind):
    """The tool's own test exports the plain encoder."""
    path, source, size = export(of_kind(tiny_cfg, kind), tmp_path, "onnx")
    agreement = require_agreement(FORMATS["onnx"].read(path), source.model, size)
    assert agreement.labels >= 0.999 and agreement.scores <= 1e-4
    assert len({batch[0] for batch in agreement.batches}) > 2 and len({batch[1:] for batch in agreement.batches}) > 3


def test_torchscript_of_any_size(tiny_cfg, tmp_path):
    """Of torch.export, test_groups_of_classes_of_any_size shows it."""
    path, source, size = export(of_kind(tiny_cfg, "plain"), tmp_path, "torchscript")
    assert require_agreement(FORMATS["torchscript"].read(path), source.model, size).scores <= 1e-4


@pytest.mark.slow
def test_one_class_with_the_output_mix_of_any_size(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, tiny_cfg.MODEL.SEGVIT.OUTPUT = 1, "mix"
    path, source, size = export(tiny_cfg, tmp_path, "onnx")
    assert require_agreement(FORMATS["onnx"].read(path), source.model, size).scores <= 1e-4


@pytest.mark.slow
def test_exports_print_no_warning(tiny_cfg, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export(of_kind(tiny_cfg, "plain"), tmp_path, "onnx")
    shown = [warning for warning in caught if not issubclass(warning.category, DeprecationWarning)]
    assert not shown, [str(warning.message) for warning in shown]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchscript", "torch_export"])
def test_groups_of_classes_of_any_size(tiny_cfg, tmp_path, name):
    """A continual model after its last step: the file returns the classes of all groups, by their ids."""
    head, continual = tiny_cfg.MODEL.SEM_SEG_HEAD, tiny_cfg.MODEL.SEGVIT.CONTINUAL
    head.NAME, tiny_cfg.MODEL.SEGVIT.OUTPUT = "ContinualHead", "diagonal"
    continual.PROTOCOL, continual.CLASS_ORDER, continual.STEP = "2-2", [3, 0, 4, 1, 2], -1
    path, source, size = export(tiny_cfg, tmp_path, name)
    run = FORMATS[name].read(path)
    assert require_agreement(run, source.model, size).scores <= 1e-4
    assert run(size.example()).amax(dim=(0, 2, 3)).min() > 0


def test_files_that_return_labels(tiny_cfg, tmp_path):
    path, source, size = export(tiny_cfg, tmp_path, "torchscript", gives_labels=True, is_dynamic=False)
    run = FORMATS["torchscript"].read(path)
    labels = run(size.example())
    assert labels.shape == (2, 32, 48) and labels.dtype == torch.int64
    agreement = require_agreement(run, source.model, size)
    assert agreement.scores is None and {batch[1:] for batch in agreement.batches} == {(32, 48)}


def test_a_file_of_another_model_is_refused(tiny_cfg, tmp_path):
    source = load_source(save_weights(tiny_cfg, tmp_path))
    size = ImageSize(32, 48, is_dynamic=False, patch_size=8)
    segmenter = source.segmenter(gives_labels=False)
    with torch.no_grad():
        assert require_agreement(segmenter, source.model, size).labels == 1
        with pytest.raises(ExportError, match="does not agree with the model: labels agree on"):
            require_agreement(lambda images: segmenter(images) + 2e-4, source.model, size)
        with pytest.raises(ExportError, match="does not agree"):
            require_agreement(lambda images: segmenter(images).flip(1), source.model, size)


def test_shrunk_pp_by_threshold_is_refused(tiny_cfg):
    of_kind(tiny_cfg, "shrunk++").MODEL.VIT.EDGE.SELECTION = "threshold"
    with pytest.raises(ValueError, match=r"append MODEL\.VIT\.EDGE\.SELECTION topk"):
        load_source(tiny_cfg)


def run_tool(*arguments):
    return run_program(PROJECT / "tools" / "export_model.py", *arguments)


def load_example():
    spec = importlib.util.spec_from_file_location("onnx_example", PROJECT / "demo" / "onnx_example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_tool_and_the_example_without_torch(tiny_cfg, tmp_path):
    """The example's indexed PNG has the model's labels of the same pixels."""
    tiny_cfg.INPUT.MIN_SIZE_TEST, tiny_cfg.INPUT.MAX_SIZE_TEST = 40, 64
    save_weights(tiny_cfg, tmp_path)
    config, target, photo, index = (tmp_path / name for name in ("c.yaml", "m.onnx", "p.png", "labels.png"))
    config.write_text(tiny_cfg.dump())
    done = run_tool("--config-file", config, "--format", "onnx", "--output", target)
    assert done.returncode == 0, done.stderr
    assert "labels agree on" in done.stdout
    again = run_tool("--config-file", config, "--format", "onnx", "--output", target)
    assert again.returncode == 2 and "--overwrite replaces it" in again.stderr

    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((90, 80), Image.Resampling.BILINEAR)
    image.save(photo)
    load_example().segment(str(target), str(photo)).save(index)
    read = Image.open(index)
    assert read.mode == "P" and read.size == (90, 80)
    resized = np.asarray(image.resize((45, 40), Image.Resampling.BILINEAR))
    model = load_source(tiny_cfg).model
    with torch.no_grad():
        (result,) = model([{"image": torch.from_numpy(resized.copy()).permute(2, 0, 1)}])
    expected = Image.fromarray(result["sem_seg"].argmax(0).to(torch.uint8).numpy())
    expected = np.asarray(expected.resize((90, 80), Image.Resampling.NEAREST))
    assert (np.asarray(read) == expected).mean() >= 0.999
    assert read.getpalette()[: 3 * K] == [value for color in json.loads(metadata(target)["palette"]) for value in color]


def metadata(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map


@pytest.mark.slow
def test_a_failed_check_leaves_no_file(tiny_cfg, tmp_path):
    """Finite weights so large that scores become NaN fail the check."""
    save_weights(tiny_cfg, tmp_path)
    content = torch.load(tmp_path / "model.pth")
    content["model"]["sem_seg_head.decoder.class_embed.weight"][:] = 3e38
    torch.save(content, tmp_path / "model.pth")
    config = tmp_path / "c.yaml"
    config.write_text(tiny_cfg.dump())
    done = run_tool("--config-file", config, "--format", "torchscript", "--output", tmp_path / "m.pt")
    assert done.returncode == 2 and "does not agree with the model" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".pt") == []
