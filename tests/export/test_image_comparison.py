"""`compare_on_images`: an exported file and its model on the same images, their agreement and times."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from PIL import Image

from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.export import ExportError, ImageSize, compare_on_images, load_source, read_images

TOOL = PROJECT / "tools" / "export_model.py"
QUIET = {"median_ms": 10.0, "spread": 0.1, "ratio": 1.0}
SIZE = ImageSize(32, 48, is_dynamic=True, patch_size=8)


@pytest.fixture
def source(tiny_cfg, tmp_path):
    """A tiny model with random weights, saved at MODEL.WEIGHTS of `tiny_cfg`."""
    torch.manual_seed(0)
    DetectionCheckpointer(build_model(tiny_cfg), save_dir=str(tmp_path)).save("model")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    return load_source(tiny_cfg)


@pytest.fixture
def files(tmp_path):
    """A red and a noisy image of 40 x 60 pixels."""
    red, noise = np.zeros((40, 60, 3), np.uint8), np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    red[..., 0] = 200
    paths = [tmp_path / "images" / f"{index}.png" for index in range(2)]
    paths[0].parent.mkdir()
    for path, pixels in zip(paths, (red, noise), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def test_images_are_resized_to_the_test_size_or_the_static_size(tiny_cfg, files):
    tiny_cfg.INPUT.MIN_SIZE_TEST, tiny_cfg.INPUT.FORMAT = 20, "BGR"
    red, noise = read_images(files, tiny_cfg, SIZE)
    assert red.shape == noise.shape == (1, 3, 20, 30) and red.dtype == torch.uint8
    assert red.unique().tolist() == [0, 200] and (red[0, 2] == 200).all()
    one_size = ImageSize(32, 48, is_dynamic=False, patch_size=8)
    assert read_images(files, tiny_cfg, one_size)[1].shape == (1, 3, 32, 48)


def test_images_below_the_smallest_size_are_refused(tiny_cfg, files):
    tiny_cfg.INPUT.MIN_SIZE_TEST = 16
    with pytest.raises(ValueError, match=r"0\.png: 16 x 24 .* 17 "):
        read_images(files, tiny_cfg, SIZE)


@pytest.mark.parametrize("gives_labels", [False, True])
def test_file_and_model_run_on_every_image_alternately(tiny_cfg, source, files, gives_labels):
    images = read_images(files, tiny_cfg, SIZE)
    segmenter = source.segmenter(gives_labels=gives_labels)
    file_images, results = [], []

    def run(batch):
        file_images.append(next(index for index, image in enumerate(images) if torch.equal(batch, image)))
        return segmenter(batch)

    source.model.register_forward_hook(lambda model, inputs, outputs: results.append(set(outputs[0])))
    comparison = compare_on_images(run, source.model, images, rounds=3)
    assert comparison.num_images == 2 and comparison.agreement.labels == 1
    assert (comparison.agreement.scores is None) == gives_labels
    assert file_images == 5 * [0, 1]  # the comparison, the warm-up and three rounds
    expected = {"sem_seg_labels"} if gives_labels else {"sem_seg"}
    assert results == 2 * [{"sem_seg"}] + 8 * [expected]
    for spread, shown in ((0.2, f"ratio {comparison.file['ratio']:.2f}"), (0.6, "too different for a ratio")):
        assert shown in replace(comparison, file={**comparison.file, "spread": spread}, model=QUIET).describe()
    assert comparison.file["ratio"] == pytest.approx(comparison.file["median_ms"] / comparison.model["median_ms"])


def test_scores_that_differ_are_refused(tiny_cfg, source, files):
    images, segmenter = read_images(files, tiny_cfg, SIZE), source.segmenter(gives_labels=False)
    with pytest.raises(ExportError, match="does not agree with the model"):
        compare_on_images(lambda images: segmenter(images) + 2e-4, source.model, images, rounds=1)


def test_a_file_that_does_not_run_is_refused(tiny_cfg, source, files):
    def run(images):
        raise AssertionError("Guard failed: images.size()[2] == 7")

    with pytest.raises(ExportError, match=r"Guard failed: images\.size\(\)\[2\] == 7"):
        compare_on_images(run, source.model, read_images(files, tiny_cfg, SIZE), rounds=1)


def test_export_model_prints_agreement_and_times_on_images(tiny_cfg, source, files, tmp_path, monkeypatch, capsys):
    config, target = tmp_path / "c.yaml", tmp_path / "m.pt"
    config.write_text(tiny_cfg.dump())
    tool = load_script(TOOL)
    arguments = ["--static", "--images", tmp_path / "images", "--rounds", 2, "--format", "torchscript"]
    command = [TOOL, "--config-file", config, *arguments, "--output", target]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    tool.main()
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"2 images: .*100\.0000% .* 1 x 32 x 48.* [\d.]+ ms .*ratio.*spreads [\d.]+%", last)
    assert target.is_file()
