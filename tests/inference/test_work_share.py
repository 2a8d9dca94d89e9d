"""Processes of torchrun, srun and Slurm arrays share the demo's files without talking to each other."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

import segvit
from helpers.forked_python import run_under_torchrun
from helpers.processes import run_program
from segvit.errors import UserError
from segvit.inference.sources import Sources
from segvit.inference.work_share import WorkShare, share_of_environment, share_of_text

DEMO = Path(segvit.__file__).parents[1] / "demo" / "demo.py"
ARRAY = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"}


@pytest.mark.parametrize(
    ("variables", "index", "count", "local_rank"),
    [
        ({}, 0, 1, 0),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, 5, 8, 1),
        (ARRAY | {"SLURM_ARRAY_TASK_MAX": "5"}, 2, 3, 0),  # --array=1-5:2
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, 3, 4, 0),
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "6", "SLURM_NTASKS": "8", "SLURM_LOCALID": "2"}, 6, 8, 2),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 0, 1, 0),  # a batch script, of which there is one process
        (ARRAY | {"SLURM_ARRAY_TASK_MAX": "5", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, 5, 6, 1),
        ({"RANK": "0", "WORLD_SIZE": "2", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, 0, 2, 0),
    ],
)
def test_the_environment_gives_the_part(variables, index, count, local_rank):
    share = share_of_environment(variables)
    assert (share.index, share.count, share.local_rank) == (index, count, local_rank)
    assert bool(share.source) == (count > 1)


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK"),
        (ARRAY | {"SLURM_ARRAY_TASK_MAX": "9", "SLURM_ARRAY_TASK_ID": "2"}, "--share"),  # --array=1,2,9
    ],
)
def test_an_environment_without_equal_parts_is_refused(variables, name):
    with pytest.raises(UserError, match=name):
        share_of_environment(variables)


@pytest.mark.parametrize("text", ["8/8", "1", "-1/8", "a/b", "0/0"])
def test_a_part_out_of_range_is_refused(text):
    assert share_of_text("7/8") == WorkShare(7, 8, source="--share")
    with pytest.raises(UserError, match="--share"):
        share_of_text(text)


def test_every_file_is_in_one_part_under_the_name_that_it_has_without_parts(tmp_path):
    for name in ("a.png", "a.jpg", "b.png", "clip.mp4", *(f"{index}.png" for index in range(200))):
        (tmp_path / name).touch()
    whole = {(source.path, source.name) for source in Sources([tmp_path])}
    parts = [Sources([tmp_path], share=WorkShare(index, 3)) for index in range(3)]
    listed = [[(source.path, source.name) for source in part] for part in parts]
    assert [len(part) for part in parts] == [len(files) for files in listed]
    assert sorted(file for files in listed for file in files) == sorted(whole)
    assert min(map(len, listed)) > 40


def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [WorkShare(0, 8, rank).device("cuda") for rank in (0, 3, 4)] == ["cuda:0", "cuda:3", "cuda:0"]
    assert WorkShare(0, 8, 3).device("cuda:1") == "cuda:1" and WorkShare(0, 8, 3).device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # Slurm shows each process its own
    assert WorkShare(0, 8, 3).device("cuda") == "cuda"


@pytest.fixture
def files(tiny_cfg, tmp_path):
    """A model, and a folder of nine images and a damaged one; returns the arguments of demo.py."""
    torch.manual_seed(0)
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    (tmp_path / "inputs").mkdir()
    for index in range(9):
        Image.fromarray(np.full((20, 30, 3), 20 * index, dtype=np.uint8)).save(tmp_path / "inputs" / f"{index}.png")
    (tmp_path / "inputs" / "damaged.png").write_text("not an image")
    model = ["--config-file", tmp_path / "config.yaml", "--weights", tmp_path / "model.pth"]
    return [DEMO, *model, "--input", tmp_path / "inputs", "--output", tmp_path / "results", "--kinds", "labels"]


def written(tmp_path):
    return sorted(path.name for path in (tmp_path / "results" / "labels").iterdir())


@pytest.mark.slow
def test_a_process_with_a_damaged_file_does_not_end_the_others_of_torchrun(files, tmp_path):
    """One process has the damaged file alone, and is done at once; the other has all images."""
    inputs = tmp_path / "inputs"
    (part,) = (index for index in (0, 1) if WorkShare(index, 2).takes("damaged.png"))
    others = [name for name in (f"image{index}.png" for index in range(300)) if not WorkShare(part, 2).takes(name)]
    for image in inputs.glob("[0-9].png"):
        image.unlink()
    for name in others[:40]:
        Image.fromarray(np.zeros((300, 400, 3), dtype=np.uint8)).save(inputs / name)
    done = run_under_torchrun(*files)
    assert done.returncode == 1, done.stderr
    assert written(tmp_path) == sorted(others[:40])
    assert re.findall(r"skipped: .*damaged\.png", done.stderr)
    counts = dict(re.findall(r"part (\d) of 0 to 1 \(RANK\): (\d+) files", done.stderr))
    assert counts == {str(part): "1", str(1 - part): "40"}


@pytest.mark.slow
def test_a_task_of_a_slurm_array_takes_its_part_and_skips_what_is_finished(files, tmp_path):
    tasks = [{"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_COUNT": "2"} for index in (0, 1)]
    codes = [run_program(*files, environment=tasks[0]).returncode]
    first = written(tmp_path)
    assert 0 < len(first) < 9
    unchanged = tmp_path / "results" / "labels" / first[0]
    unchanged.write_bytes(b"finished before")
    again = run_program(*files, environment=tasks[0])
    assert f"note: {len(first)} files were finished before" in again.stderr
    assert unchanged.read_bytes() == b"finished before"
    codes.append(run_program(*files, environment=tasks[1]).returncode)
    assert written(tmp_path) == [f"{index}.png" for index in range(9)]
    assert sorted(codes) == [0, 1]  # one of them has the damaged file
