"""convert_official_checkpoint.py: both directions, the check against a config, and errors that leave no file."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import segvit
from helpers.official_checkpoints import assert_equal_tensors, official_content, our_state
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.d2 import get_segvit_cfg

TOOL = PROJECT / "tools" / "convert_official_checkpoint.py"
# The config of the checkpoints of `helpers.official_checkpoints`.
ATM_KEYS = {
    "MODEL.VIT.NAME": "vit_tiny_patch16_224",
    "MODEL.VIT.IMG_SIZE": [64, 64],
    "MODEL.VIT.EMBED_DIM": 24,
    "MODEL.VIT.DEPTH": 3,
    "MODEL.VIT.NUM_HEADS": 2,
    "MODEL.VIT.OUT_INDICES": [0, 2],
    "MODEL.VIT.KEEP_PREFIX_TOKENS": False,
    "MODEL.VIT.REDUCTION_BLOCK": 1,
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 5,
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["block2", "block0"],
    "MODEL.SEGVIT.HIDDEN_DIM": 16,
    "MODEL.SEGVIT.NUM_HEADS": 2,
    "MODEL.SEGVIT.NUM_LAYERS": 2,
    "MODEL.SEGVIT.UPSAMPLING_LAYERS": 2,
}
# Keys without effect on a plain ATM model.
READ_BY_SHRUNK = ("MODEL.VIT.REDUCTION_BLOCK", "MODEL.SEGVIT.UPSAMPLING_LAYERS")
SHRUNK_KEYS = ATM_KEYS | {"MODEL.VIT.REDUCTION": "shrunk", "MODEL.SEGVIT.QUERY_UPSAMPLING": "learned"}


def write_config(path, keys):
    cfg = get_segvit_cfg()
    cfg.merge_from_list([item for pair in keys.items() for item in pair])
    path.write_text(cfg.dump())
    return path


def convert(*arguments):
    load_script(TOOL).main([str(argument) for argument in arguments])


def error_of(capsys, *arguments):
    """The error message of a command that exits with code 2."""
    with pytest.raises(SystemExit) as ended:
        convert(*arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def official_file(tmp_path):
    """An official file, alone in its folder."""
    (tmp_path / "files").mkdir()
    path = tmp_path / "files" / "official.pth"
    torch.save(official_content(shrunk=False), path)
    return path


@pytest.mark.parametrize("shrunk", [False, True], ids=["atm", "shrunk"])
def test_conversion_and_back_gives_the_official_file(shrunk, tmp_path, capsys):
    content = official_content(shrunk=shrunk)
    torch.save(content, tmp_path / "official.pth")
    config = write_config(tmp_path / "config.yaml", SHRUNK_KEYS if shrunk else ATM_KEYS)
    convert(tmp_path / "official.pth", tmp_path / "new" / "ours.pth", "--config-file", config)
    printed = capsys.readouterr().out
    for fact in ("Shrunk head" if shrunk else "ATM head", "5 classes", "width 24", "3 blocks", "crop 64", "2 stages"):
        assert fact in printed
    convert(tmp_path / "new" / "ours.pth", tmp_path / "back.pth", "--to-official", "--config-file", config)
    assert "left out" not in capsys.readouterr().out
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back["meta"] == content["meta"]
    assert_equal_tensors(back["state_dict"], content["state_dict"])


def test_a_converted_checkpoint_becomes_a_model_folder(tmp_path, capsys):
    """An official ADE20K checkpoint in three commands of a user: convert, pack, predict; here of a small encoder."""
    torch.save(official_content(shrunk=False, num_classes=150), tmp_path / "official.pth")
    small = {key: value for key, value in ATM_KEYS.items() if key not in READ_BY_SHRUNK} | {
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 150,
        "MODEL.VIT.PRETRAINED": "",
        "MODEL.DEVICE": "cpu",
    }
    config = ["--config-file", "ade20k/segvit_vit_base_512"]
    opts = [word for key, value in small.items() for word in (key, value)]
    convert(tmp_path / "official.pth", "--output", tmp_path / "ours.pth", *config, *opts)
    arguments = [tmp_path / "ours.pth", "--output", tmp_path / "model", *config, *opts]
    load_script(PROJECT / "pack_model.py").main([str(argument) for argument in arguments])
    assert "wall" in capsys.readouterr().out
    model = segvit.from_pretrained(tmp_path / "model", device="cpu")
    assert model.num_classes == 150 and model.classes.names[:2] == ("wall", "building")
    expected = our_state(shrunk=False, num_classes=150)
    assert_equal_tensors({name: model.network.state_dict()[name] for name in expected}, expected)
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    result = model.predict(image)
    assert result.labels.shape == (40, 56) and set(result.areas) <= set(model.classes.names)


def test_what_official_checkpoints_cannot_hold_is_reported(tmp_path, capsys):
    torch.save({"model": our_state(shrunk=False), "iteration": 9, "optimizer": {}}, tmp_path / "model_final.pth")
    convert(tmp_path / "model_final.pth", tmp_path / "official.pth", "--to-official")
    assert "iteration, optimizer" in capsys.readouterr().out


DEEPER = {
    "MODEL.VIT.DEPTH": 4,
    "MODEL.VIT.OUT_INDICES": [0, 3],
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["block3", "block0"],
}
ONE_STAGE = {"MODEL.VIT.OUT_INDICES": [2], "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["block2"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MODEL.SEM_SEG_HEAD.NUM_CLASSES": 11}, "classes: 5 in the checkpoint, 11 in the config"),
        ({"MODEL.VIT.EMBED_DIM": 32}, "width: 24 in the checkpoint, 32 in the config"),
        (DEEPER, "depth: 3 in the checkpoint, 4 in the config"),
        (ONE_STAGE, "stages: 2 in the checkpoint, 1 in the config"),
        ({"MODEL.VIT.IMG_SIZE": [96, 96]}, "positions: 16 in the checkpoint, 36 in the config"),
        ({"MODEL.SEGVIT.HIDDEN_DIM": 32}, "decoder width: 16 in the checkpoint, 32 in the config"),
        ({"MODEL.SEGVIT.NUM_LAYERS": 3}, "decoder layers: 2 in the checkpoint, 3 in the config"),
        (SHRUNK_KEYS, "head: ATM in the checkpoint, Shrunk in the config"),
        ({"MODEL.VIT.KEEP_PREFIX_TOKENS": True}, "MODEL.VIT.KEEP_PREFIX_TOKENS"),
        ({"MODEL.VIT.REDUCTION": "shrunk"}, "MODEL.VIT.REDUCTION 'none'"),
    ],
)
def test_a_checkpoint_that_does_not_fit_the_config_is_refused(changes, message, tmp_path, official_file, capsys):
    config = write_config(tmp_path / "config.yaml", ATM_KEYS | changes)
    output = official_file.parent / "ours.pth"
    assert message in error_of(capsys, official_file, output, "--config-file", config)
    assert os.listdir(official_file.parent) == ["official.pth"]


def test_the_config_may_have_more_blocks_after_the_last_stage(tmp_path, official_file):
    """The encoder drops them, and the checkpoint has none."""
    config = write_config(tmp_path / "config.yaml", ATM_KEYS | {"MODEL.VIT.DEPTH": 4})
    convert(official_file, official_file.parent / "ours.pth", "--config-file", config)


class Code:
    """An object that cannot be read without running code; `meta` of an official file may hold one."""


@pytest.mark.parametrize("entry", ["meta", "state_dict"])
def test_a_file_with_code_is_refused(entry, official_file, capsys):
    content = official_content(shrunk=False)
    content[entry]["hook"] = Code()
    torch.save(content, official_file)
    assert "official.pth contains code" in error_of(capsys, official_file, official_file.parent / "ours.pth")
    assert os.listdir(official_file.parent) == ["official.pth"]


def test_an_existing_file_is_replaced_with_overwrite_only(official_file, capsys):
    output = official_file.parent / "ours.pth"
    output.write_text("precious")
    assert "--overwrite" in error_of(capsys, official_file, output)
    assert output.read_text() == "precious"
    convert(official_file, output, "--overwrite")
    assert "model" in torch.load(output, weights_only=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.pth", "ours.pth"], "nowhere.pth"),
        (["official.pth", "ours.pth", "--config-file", "nowhere.yaml"], "'nowhere.yaml'"),
        (["official.pth", "ours.pth", "--to-official"], "'model'"),
        (["official.pth", "--output", "ours.pth", "MODEL.VIT.DEPTH", "3"], "--config-file"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, official_file, monkeypatch, capsys):
    monkeypatch.chdir(official_file.parent)
    assert message in error_of(capsys, *arguments)
    assert os.listdir() == ["official.pth"]


def test_a_truncated_file_is_refused(official_file, capsys):
    official_file.write_bytes(official_file.read_bytes()[:-2000])
    assert "corrupt or truncated" in error_of(capsys, official_file, official_file.parent / "ours.pth")


@pytest.mark.parametrize("before", [None, "precious"])
def test_a_failed_write_leaves_the_folder_as_it_was(before, official_file, monkeypatch, capsys):
    output = official_file.parent / "ours.pth"
    if before:
        output.write_text(before)

    def fail(content, file):
        Path(file).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    assert "no space left" in error_of(capsys, official_file, output, "--overwrite")
    assert sorted(os.listdir(official_file.parent)) == sorted(["official.pth", *(["ours.pth"] if before else [])])
    assert not before or output.read_text() == before
