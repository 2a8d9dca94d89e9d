"""Exported files agree with their models on images and batch sizes other than those of the export; export_model.py.

Shape shorthand: B images, H x W pixels, K classes.
"""

import functools
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
from helpers.scripts import load_script
from segvit.export import FORMATS, ExportError, ImageSize, formats, load_source, require_agreement

pytest.importorskip("onnxruntime")
K = 5


def use_reduction(cfg, kind, upsampling):
    """After the first of two blocks."""
    vit, segvit = cfg.MODEL.VIT, cfg.MODEL.SEGVIT
    use_blocks(cfg, 2)
    vit.REDUCTION, vit.REDUCTION_BLOCK, vit.EDGE.SELECTION = kind, 1, "topk"
    segvit.QUERY_UPSAMPLING, segvit.UPSAMPLING_LAYERS, segvit.OUTPUT = upsampling, 1, "diagonal"


def use_blocks(cfg, depth):
    """Fewer copies of the same operations, because exporters take seconds for each; one stage for each block."""
    cfg.MODEL.VIT.DEPTH, cfg.MODEL.VIT.OUT_INDICES = depth, list(range(depth))
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = [f"block{index}" for index in reversed(range(depth))]


def save_weights(cfg, folder):
    torch.manual_seed(0)
    cfg.MODEL.WEIGHTS = ""
    model = build_model(cfg)
    if cfg.MODEL.SEGVIT.DETAIL.SOURCE != "none":  # as if it had learnt to move the masks
        torch.nn.init.normal_(model.sem_seg_head.decoder.detail.query_proj.weight, std=0.3)
    DetectionCheckpointer(model, save_dir=str(folder)).save("model")
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    return cfg


def export(cfg, folder, *names, gives_labels=False, is_dynamic=True):
    """Export a config's model to formats: the files' runners by format, the source and the image size."""
    source = load_source(save_weights(cfg, folder))
    size = ImageSize(32, 48, is_dynamic=is_dynamic, patch_size=source.patch_size, has_cells=source.has_cells)
    segmenter, runners = source.segmenter(gives_labels=gives_labels), {}
    for name in names:
        path = folder / f"model{FORMATS[name].extension}"
        FORMATS[name].write(segmenter, size, {**source.metadata, "result": "{}"}, path)
        runners[name] = FORMATS[name].read(path)
    return runners, source, size


@pytest.fixture
def one_graph(monkeypatch):
    """torch.export runs once for all formats of a model that are made of its graph."""
    monkeypatch.setattr(formats, "_exported", functools.cache(formats._exported))


def require_agreement_of_each(runners, source, size):
    """On batches and images of several sizes."""
    for name, run in runners.items():
        agreement = require_agreement(run, source.model, size)
        assert agreement.labels >= 0.999 and agreement.scores <= 1e-4, name
        assert len({batch[0] for batch in agreement.batches}) > 2, name
        assert len({batch[1:] for batch in agreement.batches}) > 3, name


@pytest.mark.slow
@pytest.mark.usefixtures("one_graph")
def test_files_of_shrunk_models_with_detail_accept_any_size(tiny_cfg, tmp_path):
    """The plain encoder is exported in the test of the tool."""
    use_reduction(tiny_cfg, "shrunk", "learned")
    tiny_cfg.MODEL.SEGVIT.DETAIL.SOURCE = "image"
    require_agreement_of_each(*export(tiny_cfg, tmp_path, "torch_export", "onnx", "torchscript"))


@pytest.mark.slow
def test_onnx_files_of_shrunk_pp_models_accept_any_size(tiny_cfg, tmp_path):
    use_reduction(tiny_cfg, "shrunk++", "nearest")
    require_agreement_of_each(*export(tiny_cfg, tmp_path, "onnx"))


def test_torchscript_files_accept_any_size(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    require_agreement_of_each(*export(tiny_cfg, tmp_path, "torchscript"))


@pytest.mark.slow
@pytest.mark.usefixtures("one_graph")
def test_one_class_with_the_output_mix_is_exported_for_any_size_without_a_warning(tiny_cfg, tmp_path):
    use_blocks(tiny_cfg, 1)
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, tiny_cfg.MODEL.SEGVIT.OUTPUT = 1, "mix"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exported = export(tiny_cfg, tmp_path, "torch_export", "onnx")
    assert [str(warning.message) for warning in caught if warning.category is not DeprecationWarning] == []
    require_agreement_of_each(*exported)


def test_files_of_continual_models_return_all_classes_at_any_size(tiny_cfg, tmp_path):
    head, continual = tiny_cfg.MODEL.SEM_SEG_HEAD, tiny_cfg.MODEL.SEGVIT.CONTINUAL
    use_blocks(tiny_cfg, 1)
    head.NAME, tiny_cfg.MODEL.SEGVIT.OUTPUT = "ContinualHead", "diagonal"
    continual.PROTOCOL, continual.CLASS_ORDER, continual.STEP = "2-2", [3, 0, 4, 1, 2], -1
    continual.ADAPTER_BLOCKS, continual.ADAPTER_DIM = 1, 24
    runners, source, size = export(tiny_cfg, tmp_path, "torch_export", "torchscript")
    require_agreement_of_each(runners, source, size)
    for run in runners.values():
        assert run(size.example()).amax(dim=(0, 2, 3)).min() > 0


def test_a_file_may_return_labels(tiny_cfg, tmp_path):
    runners, source, size = export(tiny_cfg, tmp_path, "torchscript", gives_labels=True, is_dynamic=False)
    run = runners["torchscript"]
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
    use_reduction(tiny_cfg, "shrunk++", "nearest")
    tiny_cfg.MODEL.VIT.EDGE.SELECTION = "threshold"
    with pytest.raises(ValueError, match=r"append MODEL\.VIT\.EDGE\.SELECTION topk"):
        load_source(tiny_cfg)


def run_tool(*arguments):
    return run_program(PROJECT / "tools" / "export_model.py", *arguments)


@pytest.mark.slow
def test_onnx_example_writes_the_labels_of_the_exported_model(tiny_cfg, tmp_path):
    """Exported by the tool; the example runs without torch and writes an indexed PNG."""
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
    example = load_script(PROJECT / "demo" / "onnx_example.py")
    example.segment(str(target), str(photo)).save(index)
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
def test_a_lower_precision_says_that_it_was_not_compared(tiny_cfg, tmp_path, capsys):
    config, target = tmp_path / "c.yaml", tmp_path / "m.onnx"
    config.write_text(save_weights(tiny_cfg, tmp_path).dump())
    main = load_script(PROJECT / "tools" / "export_model.py").main
    main(["--config-file", str(config), "--format", "onnx", "--precision", "float16", "--output", str(target)])
    assert "float16 was not compared with the model: --images" in capsys.readouterr().out


@pytest.mark.slow
def test_a_file_that_does_not_agree_is_deleted(tiny_cfg, tmp_path):
    """The check fails because the weights are so large that scores become NaN."""
    save_weights(tiny_cfg, tmp_path)
    content = torch.load(tmp_path / "model.pth")
    content["model"]["sem_seg_head.decoder.class_embed.weight"][:] = 3e38
    torch.save(content, tmp_path / "model.pth")
    config = tmp_path / "c.yaml"
    config.write_text(tiny_cfg.dump())
    done = run_tool("--config-file", config, "--format", "torchscript", "--output", tmp_path / "m.pt")
    assert done.returncode == 2 and "does not agree with the model" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".pt") == []
