"""Scores of old classes stay to the last bit, and a repeated command begins with the same model.

Shape shorthand: K classes, H x W pixels.
"""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.added_classes import OLD, plain, refusal, run, scores
from helpers.folders import block_image, edit
from helpers.tiny_models import use_shrunk_pp
from segvit.continual.output_folder import lock_weights
from segvit.errors import UserError
from segvit.inference import SegViTPredictor
from segvit.modeling.postprocessing.resizing import resize_maps


def bfloat16(cfg):
    cfg.TEST.PRECISION = "bfloat16"


def windows(cfg):
    cfg.TEST.WINDOW.ENABLED, cfg.TEST.WINDOW.SIZE, cfg.TEST.WINDOW.STRIDE = True, (32, 32), (16, 16)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 5, 11])
@pytest.mark.parametrize("size", [(72, 96), (51, 71)])
def test_resized_maps_do_not_depend_on_the_maps_beside_them(num_classes, size):
    maps = torch.rand(2, 16, 37, 53, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, some = resize_maps(maps, size), resize_maps(maps[1:, :num_classes], size)
    assert torch.equal(some[0], whole[1, :num_classes])
    torch.testing.assert_close(whole, resize_maps(maps.requires_grad_(), size).detach())


@pytest.mark.parametrize("change", [plain, bfloat16, windows])
@pytest.mark.parametrize("size", [(51, 71), (90, 34)])
def test_old_scores_stay_where_images_are_resized(change, size, write_model, folder, tmp_path):
    old = write_model(change)
    new = run(old, tmp_path / "more", "DATASETS.FOLDER", folder)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    before, after = (SegViTPredictor(model)(image, output="scores") for model in (old, new))
    assert before.shape == (len(OLD), *size) and np.array_equal(before, after[: len(OLD)])


@pytest.mark.parametrize("change", [plain, use_shrunk_pp])
def test_old_scores_stay_in_batches(change, write_model, folder, tmp_path):
    old = write_model(change)
    new = run(old, tmp_path / "more", "DATASETS.FOLDER", folder)
    images = [block_image(seed) for seed in range(4)]
    before, after = (
        [scores for _, scores in SegViTPredictor(model).stream(images, output="scores", batch_size=4)]
        for model in (old, new)
    )
    assert all(np.array_equal(one, other[: len(OLD)]) for one, other in zip(before, after, strict=True))


def test_calibration_of_a_new_group_leaves_older_ones_alone(write_model, folder, tmp_path):
    first = run(write_model(), tmp_path / "first", "--classes", "road", "DATASETS.FOLDER", folder)
    bias = ("DATASETS.FOLDER", folder, "MODEL.SEGVIT.CONTINUAL.CALIBRATION", "bias")
    second = run(first, tmp_path / "second", *bias)
    image = block_image(3)
    assert np.array_equal(scores(first, image), scores(second, image)[:4])
    assert load_file(second / "model.safetensors")["sem_seg_head.added.1.factor"] != 1


def test_a_repeated_command_begins_with_the_same_model(write_model, folder, tmp_path, monkeypatch, capsys):
    """Another spelling of its path is the same model; other weights at its path are not."""
    old = write_model()
    new = run(old, tmp_path / "more", "DATASETS.FOLDER", folder)
    monkeypatch.chdir(tmp_path)
    written = (new / "model.safetensors").stat().st_mtime_ns
    assert run("old", new.parent.relative_to(tmp_path), "DATASETS.FOLDER", "folder").samefile(new)
    assert (new / "model.safetensors").stat().st_mtime_ns == written
    weights = load_file(old / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, old / "model.safetensors")
    answer = refusal(capsys, old, tmp_path / "more", "DATASETS.FOLDER", folder)
    assert "is not the model that the run in" in answer and "--overwrite" in answer
    anew = run(old, tmp_path / "more", "--overwrite", "DATASETS.FOLDER", folder)
    assert np.array_equal(scores(old, block_image(3)), scores(anew, block_image(3))[: len(OLD)])


def test_weights_to_begin_with_are_compared_by_their_contents(tmp_path):
    first, other = tmp_path / "first.pth", tmp_path / "other.pth"
    first.write_bytes(b"a")
    other.write_bytes(b"a")
    lock_weights(str(first), tmp_path)
    lock_weights(str(other), tmp_path)
    for weights in ("", "no_file.pth", str(tmp_path / "third.pth")):
        (tmp_path / "third.pth").write_bytes(b"b")
        with pytest.raises(UserError, match="is not the model that the run in"):
            lock_weights(weights, tmp_path)
    (tmp_path / "anew").mkdir()
    for _ in range(2):
        lock_weights("", tmp_path / "anew")


def test_the_model_of_the_finished_step_can_be_used(write_model, folder, tmp_path):
    old = write_model()
    run(old, tmp_path / "more", "DATASETS.FOLDER", folder)
    step = tmp_path / "more" / "continual" / "step_0" / "model"
    assert np.array_equal(scores(old, block_image(3)), scores(step, block_image(3))[: len(OLD)])


def test_a_class_without_a_pixel_is_not_learnt(write_model, folder, tmp_path, capsys):
    for path in (folder / "annotations" / "train").iterdir():
        edit(path, lambda labels: np.where(labels == 1, 255, labels).astype(np.uint8))
    answer = refusal(capsys, write_model(), tmp_path / "more", "DATASETS.FOLDER", folder)
    assert "no training image has a pixel of road" in answer and "--classes grass" in answer
    assert not (tmp_path / "more").exists()


def test_new_names_that_differ_in_case_alone_are_refused(write_model, folder, tmp_path, capsys):
    (folder / "classes.json").write_text(json.dumps([{"name": name} for name in ("Crack", "crack", "sky")]))
    answer = refusal(capsys, write_model(), tmp_path / "more", "DATASETS.FOLDER", folder)
    assert "'crack' of the dataset differs from 'Crack' in case alone" in answer
