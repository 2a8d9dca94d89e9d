"""Every documented command works.

Every command line in a bash block of the documents must match an entry of COVERAGE, which says how it is tested. The
smoke runs execute the command in a folder that links to the repository's own and holds tiny datasets; what is changed
about a command (sizes, iterations, a GPU count) is in the modules `commands_*`.
"""

import re
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import commands_of_benchmarks
import commands_of_setup
import commands_of_the_demo
import commands_of_training
import commands_on_a_folder
import commands_on_camvid
import numpy as np
import pytest
import yaml
from documents import ROOT, commands
from PIL import Image
from workspace import Workspace

from helpers.forked_python import forked_python

COMMANDS = commands()
# The first pattern that matches a whole command says how it is tested.
COVERAGE = {
    **commands_of_setup.COVERAGE,
    **commands_on_a_folder.COVERAGE,
    **commands_on_camvid.COVERAGE,
    **commands_of_the_demo.COVERAGE,
    **commands_of_training.COVERAGE,
    **commands_of_benchmarks.COVERAGE,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder for DETECTRON2_DATASETS with tiny CamVid and ADE20K: 4 training and 2 validation images each."""
    root = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    layouts = {
        "camvid": ("annotations", "train", "val", 11),
        "ADEChallengeData2016": ("annotations_detectron2", "training", "validation", 150),
    }
    for folder, (annotations, train, val, num_classes) in layouts.items():
        for split, count in ((train, 4), (val, 2)):
            for kind in ("images", annotations):
                (root / folder / kind / split).mkdir(parents=True)
            for index in range(count):
                image = draw.integers(0, 256, (64, 96, 3), dtype=np.uint8)
                labels = draw.integers(0, num_classes, (4, 6), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
                labels[:4] = 255
                Image.fromarray(image).save(root / folder / "images" / split / f"{index:04d}.jpg")
                Image.fromarray(labels).save(root / folder / annotations / split / f"{index:04d}.png")
    return root


def coverage(command):
    return next((check for pattern, check in COVERAGE.items() if re.fullmatch(pattern, command)), None)


def test_commands_that_follow_each_other_train_into_different_folders():
    """A folder belongs to one run: the second command would be refused."""
    users = {}
    for command in COMMANDS:
        words = shlex.split(command.partition("train_net.py")[2] or command.partition("train.sbatch")[2])
        if not words or {"--resume", "--eval-only"} & set(words) or "--config-file" not in words:
            continue
        given = dict(pairwise(words))
        config = ROOT / given["--config-file"]  # or one that another command writes
        shipped = yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else {}
        folder = given.get("OUTPUT_DIR") or given.get("--output") or shipped.get("OUTPUT_DIR", "./output")
        # The machines of one run have one command each.
        users.setdefault(folder, set()).add(re.sub(r"--machine-rank \d", "", command))
    assert users
    assert {folder: commands for folder, commands in users.items() if len(commands) > 1} == {}


def test_every_command_is_covered():
    uncovered = {command: doc for command, doc in COMMANDS.items() if coverage(command) is None}
    assert not uncovered, "add an entry to COVERAGE that tests these"


def test_no_coverage_is_idle():
    used = {coverage(command) for command in COMMANDS}
    assert set(COVERAGE.values()) <= used


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory, data):
    """Command -> future of its smoke run. All that were selected start at once, two at a time."""
    if shutil.which("bash") is None:
        pytest.skip("the commands are written for bash")
    selected = [item.callspec.params["command"] for item in request.session.items if "outcomes" in item.fixturenames]
    with forked_python() as python, ThreadPoolExecutor(2) as pool:
        workspace = Workspace(tmp_path_factory.mktemp("workspace"), data, python)
        yield {command: pool.submit(coverage(command), command, workspace) for command in selected if coverage(command)}
        pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in COMMANDS if coverage(command)])
def test_command(command, outcomes):
    outcomes[command].result()
