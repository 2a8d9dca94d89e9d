"""Atomic checkpoint files, and resuming from an older checkpoint if the newest one is damaged."""

import errno
import logging

import pytest
import torch
from torch import nn

from segvit import output_files
from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.checkpoint.resume import load_newest


class Counter:
    """An object with a state, in place of a trainer."""

    def __init__(self):
        self.value = 0

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def make_checkpointer(folder):
    return SegViTCheckpointer(nn.Linear(2, 1), str(folder), trainer=Counter())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints, 1 and 2."""
    writer = make_checkpointer(tmp_path)
    for value in (1, 2):
        writer.checkpointables["trainer"].value = value
        writer.save(f"model_{value:07d}")
    return tmp_path


def test_a_checkpoint_is_synced_before_it_is_renamed_and_listed_as_the_last(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        original = getattr(output_files.os, name)
        monkeypatch.setattr(
            output_files.os, name, lambda *args, name=name, call=original: (events.append(name), call(*args))
        )
    make_checkpointer(tmp_path).save("model_0000001")
    assert events == ["fsync", "replace", "fsync"] * 2
    assert names(tmp_path) == ["last_checkpoint", "model_0000001.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"


def test_a_failed_write_leaves_the_folder_unchanged(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(content, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"No space left on device.*model_0000002\.pth"):
        make_checkpointer(folder).save("model_0000002")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_unfinished_files_of_a_killed_run_are_deleted(folder):
    (folder / ".model_0000003.99.unfinished.pth").write_bytes(b"half")
    make_checkpointer(folder).save("model_0000003")
    assert not [name for name in names(folder) if "unfinished" in name]


def damage(path, kind):
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: {"empty": 0, "truncated": 500}[kind]])


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated"])
def test_a_run_is_resumed_from_the_checkpoint_before_a_damaged_one(folder, kind, caplog):
    damage(folder / "model_0000002.pth", kind)
    resumed = make_checkpointer(folder)
    with caplog.at_level(logging.WARNING):
        load_newest(resumed)
    assert resumed.checkpointables["trainer"].value == 1
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{folder / 'model_0000002.pth'} " in message
    assert f"Resuming from {folder / 'model_0000001.pth'} instead" in message


def test_a_folder_of_damaged_checkpoints_is_an_error(folder):
    for name in ("model_0000001.pth", "model_0000002.pth"):
        damage(folder / name, "truncated")
    with pytest.raises(ValueError, match=r"0000002.*0000001.*--resume"):
        load_newest(make_checkpointer(folder))


def test_a_checkpoint_of_another_model_is_refused_and_not_skipped(folder):
    other = SegViTCheckpointer(nn.Linear(3, 1), str(folder), trainer=Counter())
    with pytest.raises(ValueError, match=r"model_0000002\.pth does not fit the model"):
        load_newest(other)
