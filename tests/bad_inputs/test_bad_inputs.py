"""The table of bad inputs: each ends its command with an error line that is written here word for word.

A line names the thing and the remedy; the exit code is 2, there is no traceback, and nothing is left half-written.
"""

import re

import pytest
from checkpoint_cases import CHECKPOINT_CASES, LIBRARY_CASES
from config_cases import CONFIG_CASES
from data_cases import DATA_CASES
from tool_cases import TOOL_CASES

CASES = [*DATA_CASES, *CONFIG_CASES, *CHECKPOINT_CASES, *TOOL_CASES]


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
def test_table_of_messages_with_a_librarys_words(case, world):
    pattern = re.escape(case.message).replace("…", ".*")
    assert re.fullmatch(pattern, run(case, world), re.DOTALL)


def test_the_table_is_long_and_names_differ():
    assert len({(case.command, case.name) for case in CASES}) == len(CASES) >= 60


def test_no_device(world):
    ended = world.train("MODEL.DEVICE", "cuda")
    assert (ended.code, ended.error) == (2, "MODEL.DEVICE 'cuda': PyTorch sees no GPU here; take cpu")
    assert world.written() == set()
