"""Bad input ends every command with exit code 2 and a message that names the thing; nothing is left half-written."""

import json
import re

import numpy as np
import pytest
from checkpoint_cases import CHECKPOINT_CASES
from config_cases import CONFIG_CASES
from data_cases import DATA_CASES, IMAGE, UNREADABLE
from detectron2.data import DatasetCatalog
from messages import MESSAGES
from tool_cases import TOOL_CASES
from unread_option_cases import UNREAD_OPTION_CASES
from user_world import FOLDERS, PROJECT

from helpers.processes import run_program
from segvit.cli_errors import describe, user_errors
from segvit.d2 import load_config
from segvit.data.dataset_mapper import build_mapper

CASES = [*DATA_CASES, *CONFIG_CASES, *CHECKPOINT_CASES, *TOOL_CASES, *UNREAD_OPTION_CASES]


def require_mentions(message, mentions):
    missing = [word for word in mentions.split() if word not in message]
    assert not missing, f"{message!r} does not mention {missing}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_command_with_bad_input_exits_with_2_and_names_it(case, world):
    case.given(world)
    before = world.files()
    ended = world.train(*case.arguments) if case.command == "train_net" else world.run(case.command, *case.arguments)
    assert ended.code == 2, ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert world.written() == set(case.leaves)
    assert {name for name in world.files() - before if not name.startswith("output/")} == set()
    require_mentions(ended.error, case.mentions)
    assert ended.error == MESSAGES.get(case.title, ended.error)


@pytest.mark.parametrize(("name", "file", "mentions", "given"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_the_mapper_names_an_unreadable_file(name, file, mentions, given, world):
    """Whole trainings on such a file are among DATA_CASES."""
    given(world)
    cfg = load_config(world.config)
    mapper = build_mapper(cfg, is_train=True)
    with pytest.raises((ValueError, OSError)) as caught:
        for record in DatasetCatalog.get("folder_train"):
            mapper(record)
    message = describe(caught.value).replace(str(world.home), "HOME")
    assert message.startswith(f"HOME/data/{file}: ")
    require_mentions(message, mentions)


def test_a_program_exits_like_its_function(world):
    """A program of its own, whose error is raised in the training loop."""
    path = world.data / IMAGE
    path.write_bytes(path.read_bytes()[:200])
    done = run_program(PROJECT / "train_net.py", "--config-file", world.config)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"train_net.py: error: {path}: ")
    assert "Traceback" not in done.stdout + done.stderr
    assert (done.stdout + done.stderr).count(f"{path}: ") == 1
    assert f"{path}: " in (world.output / "log.txt").read_text()


SCRIPTS = sorted(path for folder in FOLDERS for path in folder.glob("*.py"))
PROGRAMS = [
    path
    for path in SCRIPTS
    if {"from segvit", "__main__"} <= set(re.findall(r"from segvit|__main__", path.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_every_program_handles_user_errors(path):
    code = path.read_text(encoding="utf-8")
    assert re.search(r"^@user_errors\(\)$|run_command\(", code, re.MULTILINE)


def test_segvit_traceback_shows_the_traceback(world, monkeypatch):
    monkeypatch.setenv("SEGVIT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="SEED"):
        world.train("SEED")


def test_other_errors_keep_their_traceback():
    with pytest.raises(ValueError, match="could not broadcast"), user_errors():
        np.zeros(2)[:] = np.zeros(3)
    with pytest.raises(ValueError, match="Expecting value"), user_errors():
        json.loads("")


def test_ground_truth_that_makes_metrics_meaningless_is_reported_once(world):
    """Before the training, and not by each evaluation again; scales that evaluations in training leave out, too."""
    for path in world.data.glob("annotations/val/*.png"):
        world.replace(path.relative_to(world.data), lambda image: image.point(lambda _: 1))
    ended = world.train("SOLVER.MAX_ITER", "4", "TEST.EVAL_PERIOD", "2", "TEST.AUG.ENABLED", "True")
    assert ended.code == 0, ended.stderr
    said = [line for line in ended.stdout.splitlines() if "folder_val" in line and "WARNING" in line]
    assert len(said) == 1 and "single_class" in said[0]
    assert ended.stdout.count("TEST.AUG.ENABLED") == 1


def test_keyboard_interrupt_exits_with_130(capsys):
    with pytest.raises(SystemExit, match="130"), user_errors():
        raise KeyboardInterrupt
    assert capsys.readouterr().err.endswith(": interrupted\n")


def test_tables_are_complete():
    titles = {case.title for case in CASES}
    assert len(titles) == len(CASES) >= 60
    assert set(MESSAGES) <= titles
