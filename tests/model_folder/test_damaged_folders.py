"""Damaged model folders are refused by file; saves that are interrupted, meet each other, or find other files."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

import segvit
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.command_line.model_arguments import find_model_or_config
from segvit.config.loading import CONFIGS
from segvit.errors import UserError
from segvit.inference import SegViTPredictor
from segvit.model_folder.card import TrainingRecord
from segvit.model_folder.files import read_model_folder, write_model_folder
from segvit.model_folder.finding import find_model

TINY = {"img_size": (16, 16), "patch_size": 8, "embed_dim": 24, "depth": 2, "vit_num_heads": 3, "output": "diagonal"}
# No process has this id.
DEAD = 2**22 + 7


@pytest.fixture(scope="module")
def save(tmp_path_factory):
    """Saves one model into a folder, with metrics."""
    model = segvit.create_model("vit_tiny_patch16_224", classes=["road", "sky"], **TINY)

    def write(folder, **metrics):
        return write_model_folder(
            folder,
            cfg=model.cfg,
            weights=model.network.state_dict(),
            classes=model.classes,
            metrics=metrics,
            record=TrainingRecord(in_python=True),
        )

    return write


@pytest.fixture
def folder(save, tmp_path):
    return save(tmp_path / "model")


def cut(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def edited(name, old, new):
    def change(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (cut, r"model\.safetensors is corrupt or truncated"),
        (lambda folder: (folder / "metrics.json").write_text('{"mIoU": '), r"metrics\.json must hold"),
        (lambda folder: (folder / "metrics.json").write_text("[61.2]"), r"metrics\.json must hold"),
        (lambda folder: (folder / "metrics.json").write_text('{"mIoU": "high"}'), r"metrics\.json must hold"),
        (lambda folder: (folder / "classes.json").write_bytes(b'{"classes": "\xff"}'), r"classes\.json must hold"),
        (edited("config.yaml", "VERSION: 2", "VERSION: 3"), r"config\.yaml: VERSION 3 is not 2"),
        (edited("config.yaml", "STEM:", "NEW_STEM:"), rf"config\.yaml: .*NEW_STEM in version {segvit.__version__}"),
    ],
)
def test_a_damaged_folder_is_refused_by_file(folder, damage, named):
    damage(folder)
    with pytest.raises(UserError, match=named):
        segvit.from_pretrained(folder)


def test_metrics_of_other_classes_are_left_out(folder, caplog):
    (folder / "metrics.json").write_text('{"mIoU": 61.2, "IoU-road": 70.0}')
    assert read_model_folder(folder).metrics == {"mIoU": 61.2, "IoU-road": 70.0}
    (folder / "metrics.json").write_text('{"mIoU": 61.2, "IoU-tree": 70.0}')
    assert read_model_folder(folder).metrics == {}
    assert "IoU-tree" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "is_measured"),
    [
        ("MODEL.VIT.REDUCTION", "merge", False),
        ("INPUT.MIN_SIZE_TEST", 24, False),
        ("TEST.WINDOW.ENABLED", True, False),
        ("MODEL.SEGVIT.NUM_HEADS", 2, False),
        ("MODEL.VIT.NUM_HEADS", 2, False),
        ("MODEL.SEGVIT.DROPOUT", 0.3, True),
        ("MODEL.VIT.REDUCTION", "none", True),
        ("MODEL.DEVICE", "cpu", True),
    ],
)
def test_metrics_of_another_prediction_are_left_out(save, tmp_path, key, value, is_measured):
    folder = save(tmp_path / "model", mIoU=50.0)
    expected = {"mIoU": 50.0} if is_measured else {}
    assert SegViTPredictor(folder, opts=[key, value]).metrics == expected
    assert segvit.from_pretrained(folder, **{key: value}).metrics == expected


def test_keys_that_a_folder_would_not_read_are_refused(save, tmp_path):
    folder = save(tmp_path / "model", mIoU=50.0)
    for key, value in (
        ("MODEL.VIT.MERGE.SHARE", 0.4),
        ("MODEL.VIT.REDUCTION_BLOCK", 2),
        ("TEST.WINDOW.STRIDE", [9, 9]),
    ):
        with pytest.raises(UserError, match=f"{key} .* would have no effect"):
            SegViTPredictor(folder, opts=[key, value])
        with pytest.raises(UserError, match="would have no effect"):
            segvit.from_pretrained(folder, **{key: value})
    by_threshold = ["MODEL.VIT.REDUCTION", "merge", "MODEL.VIT.MERGE.THRESHOLD", 0.99]
    with pytest.raises(UserError, match=r"MERGE\.SELECTION is 'topk'"):
        SegViTPredictor(folder, opts=by_threshold)
    SegViTPredictor(folder, opts=[*by_threshold, "MODEL.VIT.MERGE.SELECTION", "threshold"])


def test_metrics_without_a_value_are_not_written(save, folder):
    save(folder, mIoU=50.0, **{"IoU-sky": float("nan")})
    assert json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail) == {"mIoU": 50.0}


def test_any_text_of_the_card_and_any_name_of_the_folder(save, folder, tmp_path):
    (folder / "README.md").write_bytes("größer".encode("latin-1"))
    odd = tmp_path / "größe {0} 模型"
    save(odd)
    assert "größe {0}" in (odd / "README.md").read_text()
    assert SegViTPredictor(odd).class_names == ("road", "sky")
    assert read_model_folder(folder).card.startswith("gr")
    with pytest.raises(UserError, match="UTF-8"):
        save(tmp_path / os.fsdecode(b"\xff"))


def test_other_files_in_a_folder_stay(save, folder):
    (folder / "model.onnx").write_bytes(b"exported")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    save(folder, mIoU=3.0)
    assert (folder / "model.onnx").read_bytes() == b"exported" and (folder / ".git" / "HEAD").read_text() == "ref"
    assert read_model_folder(folder).metrics == {"mIoU": 3.0}


def test_a_link_to_a_folder_stays_a_link(save, folder, tmp_path):
    link = tmp_path / "newest"
    link.symlink_to(folder.name)
    save(link, mIoU=4.0)
    assert link.is_symlink() and read_model_folder(folder).metrics == {"mIoU": 4.0}
    assert {path.name for path in tmp_path.iterdir()} == {"model", "newest"}


def test_a_folder_that_another_process_replaces_meanwhile(save, folder, monkeypatch):
    rename, meetings = os.rename, []

    def rename_after_the_other(source, target):
        if Path(source) == folder and len(meetings) < 2:
            meetings.append(target)
            shutil.rmtree(folder)
        return rename(source, target)

    monkeypatch.setattr(os, "rename", rename_after_the_other)
    save(folder, mIoU=5.0)
    assert meetings and read_model_folder(folder).metrics == {"mIoU": 5.0}


def test_what_killed_saves_leave_behind(save, folder, tmp_path):
    """A half folder goes with the next save. The one before is named, should the process have died between renames."""
    half, before = tmp_path / f".model-{DEAD}", tmp_path / f".model.old-{DEAD}"
    half.mkdir()
    save(folder)
    assert not half.exists()
    folder.rename(before)
    with pytest.raises(UserError, match=rf"interrupted.*\.model\.old-{DEAD}"):
        find_model(folder)
    save(folder)
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


@pytest.mark.parametrize(("reason", "number"), [("No space left (os error 28)", errno.ENOSPC), ("odd", errno.EIO)])
def test_weights_that_cannot_be_written_name_the_folder(save, folder, monkeypatch, reason, number):
    def fail(*_):
        raise SafetensorError(reason)

    monkeypatch.setattr("segvit.model_folder.replacement.save_file", fail)
    with pytest.raises(OSError) as caught:
        save(folder, mIoU=6.0)
    assert caught.value.errno == number and caught.value.filename == str(folder)
    assert read_model_folder(folder).metrics == {}


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_a_training_does_not_write_into_a_model_folder(folder, words):
    program = load_script(PROJECT / "train_net.py")
    args = program.build_parser().parse_args(["--model", "toy_scenes", "--output", str(folder), *words])
    with pytest.raises(UserError, match=r"OUTPUT_DIR .* is a model folder"):
        program.check(args)


@pytest.mark.parametrize("opts", [["TEST.AUG.ENABLED", True], ["MODEL.DEVICE"]])
def test_a_predictor_refuses_overrides_that_it_would_not_read(folder, opts):
    with pytest.raises(UserError, match=opts[0]):
        SegViTPredictor(folder, opts=opts)


def test_a_file_in_place_of_a_folder_names_the_folder_or_how_to_make_one(folder, tmp_path):
    (tmp_path / "model_best.pth").touch()
    for load in (SegViTPredictor, segvit.from_pretrained, lambda path: find_model_or_config(str(path))):
        with pytest.raises(UserError, match=r"model\.safetensors is a file of the model folder"):
            load(folder / "model.safetensors")
        with pytest.raises(UserError, match=r"pack_model\.py .*model_best\.pth"):
            load(tmp_path / "model_best.pth")


def test_folders_with_names_of_configs_and_files(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("toy_scenes", "images").mkdir(parents=True)
    assert find_model_or_config("toy_scenes").is_relative_to(CONFIGS)
    shutil.copytree(folder, Path("toy_scenes", "model"))
    assert find_model_or_config("toy_scenes") == Path("toy_scenes", "model")
    Path("empty").mkdir()
    with pytest.raises(UserError, match="no model folder"):
        find_model_or_config("empty")
    folder.rename("exported.onnx")
    assert SegViTPredictor("exported.onnx").class_names == SegViTPredictor("toy_scenes").class_names
