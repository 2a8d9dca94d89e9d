"""The table of bad inputs: each ends its command with an error line that is written here word for word.

A line names the thing and the remedy; the exit code is 2, there is no traceback, and nothing is left half-written.
"""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from checkpoint_cases import CHECKPOINT_CASES, LIBRARY_CASES
from config_cases import CONFIG_CASES
from continual_and_demo_cases import CONTINUAL_AND_DEMO_CASES
from data_cases import DATA_CASES
from export_cases import EXPORT_CASES
from preparation_cases import PREPARATION_CASES
from tool_cases import TOOL_CASES
from user_world import FOLDERS, ROOT

from segvit.cli_errors import user_errors

CASES = [
    *DATA_CASES,
    *CONFIG_CASES,
    *CHECKPOINT_CASES,
    *TOOL_CASES,
    *EXPORT_CASES,
    *PREPARATION_CASES,
    *CONTINUAL_AND_DEMO_CASES,
]


def run(case, world):
    """Set up, run, and check all but the message, which is returned."""
    case.given(world)
    before = world.files()
    ended = world.train(*case.arguments) if case.command == "train_net" else world.run(case.command, *case.arguments)
    assert ended.code == 2, ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert world.written() == set(case.leaves)
    assert {name for name in world.files() - before if not name.startswith("output/")} == set()
    return ended.error


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_table(case, world):
    assert run(case, world) == case.message


@pytest.mark.parametrize("case", LIBRARY_CASES, ids=lambda case: case.name)
def test_table_of_messages_in_part(case, world):
    pattern = re.escape(case.message).replace("…", ".*")
    assert re.fullmatch(pattern, run(case, world), re.DOTALL)


# Their ways out differ: before anything is read, with a config that is, from within the training loop.
AS_PROGRAMS = ("evaluation without weights", "analyze_model: stages outside the depth", "half an image")


@pytest.mark.parametrize("name", AS_PROGRAMS)
def test_true_programs_end_alike(name, world):
    (case,) = (case for case in CASES if case.name == name)
    case.given(world)
    folder = "projects/SegViT" if case.command == "train_net" else "projects/SegViT/tools"
    config = ["--config-file", str(world.config)] if case.command == "train_net" else []
    arguments = [world.path(argument) for argument in case.arguments]
    command = [sys.executable, ROOT / folder / f"{case.command}.py", *config, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith(f"{case.command}.py: error: {world.path(case.message)}\n")
    assert "Traceback" not in done.stdout + done.stderr
    assert world.written() == set(case.leaves)


SCRIPTS = sorted(path for folder in FOLDERS for path in folder.glob("*.py"))
PROGRAMS = [
    path
    for path in SCRIPTS
    if {"from segvit", "__main__"} <= set(re.findall(r"from segvit|__main__", path.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_every_program_ends_alike(path):
    assert re.search(r"^@user_errors\(\)$|run_command\(", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_a_variable_shows_the_traceback(world, monkeypatch):
    monkeypatch.setenv("SEGVIT_TRACEBACK", "1")
    with pytest.raises(ValueError, match=r"SEED has no value"):
        world.train("SEED")


def test_what_nobody_explained_keeps_its_traceback():
    with pytest.raises(ValueError, match="could not broadcast"), user_errors():
        np.zeros(2)[:] = np.zeros(3)
    with pytest.raises(ValueError, match="Expecting value"), user_errors():
        json.loads("")


def test_an_interruption_is_no_traceback(capsys):
    with pytest.raises(SystemExit, match="130"), user_errors():
        raise KeyboardInterrupt
    assert capsys.readouterr().err.endswith(": interrupted\n")


def test_the_table_is_long_and_names_differ():
    assert len({(case.command, case.name) for case in CASES}) == len(CASES) >= 60


def test_no_device(world):
    ended = world.train("MODEL.DEVICE", "cuda")
    assert (ended.code, ended.error) == (2, "MODEL.DEVICE 'cuda': PyTorch sees no GPU here; take cpu")
    assert world.written() == set()
