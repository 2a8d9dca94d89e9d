"""Places that take no output: files for folders, folders that may not be written to, a disk that is full."""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
import torch

from helpers.dataset_replicas import write_ade20k
from segvit.evaluation import SemSegConfusionEvaluator
from segvit.output_files import atomic_write, require_folder

resource = pytest.importorskip("resource")

FULL = "free some space, or write to another disk"


@contextlib.contextmanager
def file_size_limit(size):
    """No file may grow beyond so many bytes, as if the disk were full then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def without_privileges():
    """As a user whom permissions bind: root writes wherever it likes."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


NOT_A_FOLDER = "HOME/config.yaml is a file, not a folder; choose another path"
PLACES = {
    "a file": ("HOME/config.yaml", f"OUTPUT_DIR 'HOME/config.yaml': {NOT_A_FOLDER}"),
    "below a file": ("HOME/config.yaml/a", f"OUTPUT_DIR 'HOME/config.yaml/a': {NOT_A_FOLDER}"),
    "nowhere": ("", "OUTPUT_DIR is empty: name a folder"),
}


@pytest.mark.parametrize("name", PLACES)
def test_no_folder(name, world):
    place, message = PLACES[name]
    before = world.files()
    ended = world.train("OUTPUT_DIR", place)
    assert (ended.code, ended.error) == (2, message)
    assert world.files() == before


def test_a_folder_that_may_not_be_written_to():
    folder = Path(tempfile.mkdtemp())  # pytest's own are closed to all others
    folder.chmod(0o555)
    caught = None
    try:
        with without_privileges():  # in which nothing else is imported: the interpreter may be closed to others, too
            require_folder(folder / "new" / "output", origin="OUTPUT_DIR")
    except ValueError as error:
        caught = str(error)
    finally:
        folder.rmdir()
    place = folder / "new" / "output"
    assert caught == f"OUTPUT_DIR '{place}': {folder} is not writable; choose another path"


TOOLS = {
    "check_dataset": (("HOME/data", "--output", "HOME/output"), "HOME/output/report.json", 200),
    "plot_training": (("HOME/data", "--output", "HOME/output/curve.png"), "HOME/output/curve.png", 4096),
    "draw_predictions": (
        ("--config-file", "HOME/config.yaml", "--output", "HOME/output/a.png", "MODEL.WEIGHTS", "HOME/model.pth"),
        "HOME/output/a.png",
        4096,
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_on_a_full_disk(tool, world):
    arguments, file, limit = TOOLS[tool]
    world.save_checkpoint()
    (world.data / "metrics.json").write_text('{"iteration": 1, "total_loss": 2.0}\n')
    with file_size_limit(limit):
        ended = world.run(tool, *arguments)
    assert (ended.code, ended.error) == (2, f"{file}: File too large; {FULL}")
    assert world.written() == set()


def test_a_checkpoint_on_a_full_disk(world):
    """The log and the config are smaller; nothing is there that a later run would take for a checkpoint."""
    with file_size_limit(60_000):
        ended = world.train()
    assert (ended.code, ended.error) == (2, f"HOME/output/model_final.pth: could not be written completely; {FULL}")
    assert not [name for name in world.written() if name.endswith(".pth") or name == "last_checkpoint"]
    assert "Traceback" not in ended.stdout + ended.stderr


def test_metrics_on_a_full_disk(world):
    world.register()
    evaluator = SemSegConfusionEvaluator("folder_val", distributed=False, output_dir=str(world.output))
    records = [{"sem_seg_file_name": str(path)} for path in (world.data / "annotations/val").iterdir()]
    evaluator.process(records, [{"sem_seg_labels": torch.zeros(24, 32, dtype=torch.int64)} for _ in records])
    with file_size_limit(50), pytest.raises(OSError, match=r"File too large: .*sem_seg_evaluation\.json"):
        evaluator.evaluate()
    assert world.written() == set()


def test_preparation_on_a_full_disk(world):
    folder = write_ade20k(world.home / "datasets")
    before = world.files()
    with file_size_limit(50):
        ended = world.run("prepare_ade20k_sem_seg", "--workers", "1", "--partial")
    name = "HOME/datasets/ADEChallengeData2016/annotations_detectron2/training/ADE_train_00000001.png"
    message = f"{name}: File too large; {FULL}; finished files are kept: run the same command again to continue"
    assert (ended.code, ended.error) == (2, message)
    assert {Path(name).name for name in world.files() - before} <= {"prepared.sha256", ".prepared.sha256.journal"}
    assert folder.is_dir()


def test_a_file_is_whole_or_not_there(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with pytest.raises(RuntimeError, match="torch says so"), atomic_write(target) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError("torch says so")
    assert list(target.parent.iterdir()) == []
    with pytest.raises(OSError, match=r"could not be written completely: .*a\.txt"), atomic_write(target):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
    with atomic_write(target) as unfinished:
        unfinished.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole" and list(target.parent.iterdir()) == [target]
