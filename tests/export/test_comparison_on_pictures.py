"""Exported files against their models on given pictures: the same pixels for both, in turns, within the same bars."""

import importlib.util
import re
import sys

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from PIL import Image

from helpers.repository import PROJECT
from segvit.export import ExportError, ImageSize, compare_on_pictures, load_source, read_pictures

TOOL = PROJECT / "tools" / "export_model.py"
SIZE = ImageSize(32, 48, is_dynamic=True, patch_size=8)


@pytest.fixture
def source(tiny_cfg, tmp_path):
    """A tiny model with random weights on the disk, named in `tiny_cfg`."""
    torch.manual_seed(0)
    DetectionCheckpointer(build_model(tiny_cfg), save_dir=str(tmp_path)).save("model")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    return load_source(tiny_cfg)


@pytest.fixture
def files(tmp_path):
    """A red and a noisy picture of 40 x 60 pixels."""
    red, noise = np.zeros((40, 60, 3), np.uint8), np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    red[..., 0] = 200
    paths = [tmp_path / "pictures" / f"{index}.png" for index in range(2)]
    paths[0].parent.mkdir()
    for path, pixels in zip(paths, (red, noise), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def test_pictures_as_the_model_reads_them(tiny_cfg, files):
    tiny_cfg.INPUT.MIN_SIZE_TEST, tiny_cfg.INPUT.FORMAT = 20, "BGR"
    red, noise = read_pictures(files, tiny_cfg, SIZE)
    assert red.shape == noise.shape == (1, 3, 20, 30) and red.dtype == torch.uint8
    assert red.unique().tolist() == [0, 200] and (red[0, 2] == 200).all()
    one_size = ImageSize(32, 48, is_dynamic=False, patch_size=8)
    assert read_pictures(files, tiny_cfg, one_size)[1].shape == (1, 3, 32, 48)


def test_pictures_below_the_least_size_are_refused(tiny_cfg, files):
    tiny_cfg.INPUT.MIN_SIZE_TEST = 16
    with pytest.raises(ValueError, match=r"0\.png: 16 x 24 pixels .* at least 17 in both directions"):
        read_pictures(files, tiny_cfg, SIZE)


@pytest.mark.parametrize("gives_labels", [False, True])
def test_both_see_every_picture_in_turn(tiny_cfg, source, files, gives_labels):
    pictures = read_pictures(files, tiny_cfg, SIZE)
    segmenter, seen, given = source.segmenter(gives_labels=gives_labels), [], []

    def run(images):
        seen.append(next(index for index, picture in enumerate(pictures) if torch.equal(images, picture)))
        return segmenter(images)

    source.model.register_forward_hook(lambda model, inputs, results: given.append(set(results[0])))
    comparison = compare_on_pictures(run, source.model, pictures, rounds=3)
    assert comparison.pictures == 2 and comparison.agreement.labels == 1
    assert (comparison.agreement.scores is None) == gives_labels
    assert seen == 5 * [0, 1]  # compared, warmed up, and three rounds
    expected = {"sem_seg_labels"} if gives_labels else {"sem_seg"}
    assert given == 2 * [{"sem_seg"}] + 8 * [expected]
    assert comparison.file["ratio"] == pytest.approx(comparison.file["median_ms"] / comparison.model["median_ms"])


def test_other_scores_are_refused(tiny_cfg, source, files):
    pictures, segmenter = read_pictures(files, tiny_cfg, SIZE), source.segmenter(gives_labels=False)
    with pytest.raises(ExportError, match="does not agree with the model"):
        compare_on_pictures(lambda images: segmenter(images) + 2e-4, source.model, pictures, rounds=1)


def test_a_file_that_does_not_run_is_refused(tiny_cfg, source, files):
    def run(images):
        raise AssertionError("Guard failed: images.size()[2] == 7")

    with pytest.raises(ExportError, match=r"does not run on fresh images: Guard failed: images\.size\(\)\[2\] == 7"):
        compare_on_pictures(run, source.model, read_pictures(files, tiny_cfg, SIZE), rounds=1)


def test_the_tool(tiny_cfg, source, files, tmp_path, monkeypatch, capsys):
    config, target = tmp_path / "c.yaml", tmp_path / "m.pt"
    config.write_text(tiny_cfg.dump())
    spec = importlib.util.spec_from_file_location("export_model", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    arguments = ["--static", "--pictures", tmp_path / "pictures", "--rounds", 2, "--format", "torchscript"]
    command = [TOOL, "--config-file", config, *arguments, "--output", target]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    tool.main()
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"2 pictures: labels agree on 100\.0000% .* \(images: 1 x 32 x 48\); [\d.]+ ms against", last)
    assert re.search(r"ratio [\d.]+, spreads \d+% and \d+% \(.*, \d+ threads\)$", last)
    assert target.is_file()
