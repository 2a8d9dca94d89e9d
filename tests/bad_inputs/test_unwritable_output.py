"""Output that cannot be written: a file in place of a folder, a read-only folder, a full disk; and `atomic_write`."""

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

NOBODY = 65534
DISK_FULL = ("File too large", "free some space")


@contextlib.contextmanager
def file_size_limit(size):
    """Let no file grow beyond this number of bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def without_root():
    """Run as a user who is bound by file permissions; root is not."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def assert_mentions(message, *mentions):
    assert [word for word in mentions if word not in message] == [], message


@pytest.mark.parametrize(
    ("output_dir", "mentions"),
    [
        ("HOME/config.yaml", ("'HOME/config.yaml'", "not a folder")),
        ("HOME/config.yaml/a", ("'HOME/config.yaml/a'", "HOME/config.yaml is a file")),
        ("", ("empty",)),
    ],
    ids=["file", "below a file", "empty"],
)
def test_training_refuses_an_output_dir_that_is_no_folder(output_dir, mentions, world):
    before = world.files()
    ended = world.train("OUTPUT_DIR", output_dir)
    assert ended.code == 2
    assert_mentions(ended.error, "OUTPUT_DIR", *mentions)
    assert world.files() == before


def test_a_read_only_folder_is_named():
    read_only = Path(tempfile.mkdtemp())  # outside pytest's folders, which other users cannot enter
    read_only.chmod(0o555)
    output = read_only / "new" / "output"
    message = None
    try:
        # No import may happen in this block: the interpreter's own folder may be closed to other users.
        with without_root():
            require_folder(output, origin="OUTPUT_DIR")
    except ValueError as error:
        message = str(error)
    finally:
        read_only.rmdir()
    assert_mentions(message, f"OUTPUT_DIR '{output}'", f"{read_only} is not writable")


# Arguments of each tool, the file that it writes, and a size limit below that of the file.
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
def test_a_tool_on_a_full_disk_leaves_no_file(tool, world):
    arguments, file, limit = TOOLS[tool]
    world.save_checkpoint()
    (world.data / "metrics.json").write_text('{"iteration": 1, "total_loss": 2.0}\n')
    with file_size_limit(limit):
        ended = world.run(tool, *arguments)
    assert ended.code == 2
    assert_mentions(ended.error, file, *DISK_FULL)
    assert world.written() == set()


def test_training_on_a_full_disk_leaves_no_checkpoint(world):
    """The limit is above the size of the log and the config, and below that of the checkpoint."""
    with file_size_limit(60_000):
        ended = world.train()
    assert ended.code == 2
    assert_mentions(ended.error, "HOME/output/model_final.pth", "free some space")
    assert not [name for name in world.written() if name.endswith(".pth") or name == "last_checkpoint"]
    assert "Traceback" not in ended.stdout + ended.stderr


def test_evaluation_on_a_full_disk_leaves_no_metrics(world):
    world.register()
    evaluator = SemSegConfusionEvaluator("folder_val", distributed=False, output_dir=str(world.output))
    records = [{"sem_seg_file_name": str(path)} for path in (world.data / "annotations/val").iterdir()]
    evaluator.process(records, [{"sem_seg_labels": torch.zeros(24, 32, dtype=torch.int64)} for _ in records])
    with file_size_limit(50), pytest.raises(OSError, match=r"sem_seg_evaluation\.json"):
        evaluator.evaluate()
    assert world.written() == set()


def test_preparation_on_a_full_disk_keeps_finished_files(world):
    write_ade20k(world.home / "datasets")
    before = world.files()
    with file_size_limit(50):
        ended = world.run("prepare_ade20k_sem_seg", "--workers", "1", "--partial")
    assert ended.code == 2
    file = "HOME/datasets/ADEChallengeData2016/annotations_detectron2/training/ADE_train_00000001.png"
    assert_mentions(ended.error, file, *DISK_FULL, "run the same command again")
    assert {Path(name).name for name in world.files() - before} <= {"prepared.sha256", ".prepared.sha256.journal"}


def test_atomic_write_shows_a_file_only_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with pytest.raises(RuntimeError, match="defect"), atomic_write(target) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError("defect")
    assert list(target.parent.iterdir()) == []
    with atomic_write(target) as unfinished:
        unfinished.write_text("complete")
        assert not target.exists()
    assert target.read_text() == "complete" and list(target.parent.iterdir()) == [target]


def test_atomic_write_names_the_file_in_errors_of_torch(tmp_path):
    """`torch.save` reports a full disk as a RuntimeError without a file name."""
    with pytest.raises(OSError, match=r"a\.txt"), atomic_write(tmp_path / "a.txt"):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
