"""Checkpoints are there whole or not at all; a damaged one is passed over, with a warning."""

import errno
import logging

import pytest
import torch
from torch import nn

from segvit import output_files
from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.checkpoint.resume import load_newest


class Counter:
    """A checkpointable."""

    def __init__(self):
        self.value = 0

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def checkpointer(folder):
    return SegViTCheckpointer(nn.Linear(2, 1), str(folder), trainer=Counter())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def written(tmp_path):
    """Two checkpoints, 1 and 2."""
    writer = checkpointer(tmp_path)
    for value in (1, 2):
        writer.checkpointables["trainer"].value = value
        writer.save(f"model_{value:07d}")
    return tmp_path


def test_files_are_synced_before_they_are_named(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        original = getattr(output_files.os, name)
        monkeypatch.setattr(
            output_files.os, name, lambda *args, name=name, call=original: (events.append(name), call(*args))
        )
    checkpointer(tmp_path).save("model_0000001")
    assert events == ["fsync", "replace", "fsync"] * 2
    assert names(tmp_path) == ["last_checkpoint", "model_0000001.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"


def test_an_error_while_writing_leaves_what_was_there(written, monkeypatch):
    before = {path.name: path.read_bytes() for path in written.iterdir()}

    def full(content, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"No space left on device.*model_0000002\.pth"):
        checkpointer(written).save("model_0000002")
    assert {path.name: path.read_bytes() for path in written.iterdir()} == before


def test_what_a_killed_run_left_half_written_is_removed(written):
    (written / ".model_0000003.99.unfinished.pth").write_bytes(b"half")
    checkpointer(written).save("model_0000003")
    assert not [name for name in names(written) if "unfinished" in name]


def damage(path, how):
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: {"empty": 0, "cut": 500}[how]])


@pytest.mark.parametrize("how", ["gone", "empty", "cut"])
def test_a_damaged_newest_file_gives_way_to_the_one_before(written, how, caplog):
    damage(written / "model_0000002.pth", how)
    resumed = checkpointer(written)
    with caplog.at_level(logging.WARNING):
        load_newest(resumed)
    assert resumed.checkpointables["trainer"].value == 1
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{written / 'model_0000002.pth'} " in message
    assert f"Resuming from {written / 'model_0000001.pth'} instead" in message


def test_nothing_that_can_be_read(written):
    for name in ("model_0000001.pth", "model_0000002.pth"):
        damage(written / name, "cut")
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read: .*0000002.*0000001.*without --resume"):
        load_newest(checkpointer(written))


def test_another_model_is_no_damage(written):
    other = SegViTCheckpointer(nn.Linear(3, 1), str(written), trainer=Counter())
    with pytest.raises(ValueError, match=r"model_0000002\.pth does not fit the model"):
        load_newest(other)
