"""Processes that are started here or by torchrun: they meet, leave in order, and end together where one fails."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from helpers.repository import ROOT
from segvit.engine.launching import TORCHRUN_VARIABLES, argument_parser, number_of_processes

PROGRAM = ROOT / "tests" / "helpers" / "launched_program.py"
# --standalone takes a free port of its own.
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", PROGRAM]
STARTERS = {"launch": [sys.executable, PROGRAM, "--num-gpus", "2"], "torchrun": TORCHRUN}
EACH_STARTER = pytest.mark.parametrize("starter", STARTERS.values(), ids=STARTERS)
# Far above what is measured: a job that hangs fails the test, and a slow machine does not.
PATIENCE = 180


def environment():
    without = {name: value for name, value in os.environ.items() if name not in TORCHRUN_VARIABLES}
    return without | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def start(*command):
    """In a session of its own, so that nothing of it outlives a test that gives up."""
    words = list(map(str, command))
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment(), start_new_session=True)


def finish(process):
    try:
        process.stdout_text, process.stderr_text = process.communicate(timeout=PATIENCE)
    finally:
        end_session(process.pid)
    return process


def end_session(leader):
    """What is left of it, if anything."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.mark.slow
@EACH_STARTER
def test_processes_meet_and_leave(starter, tmp_path):
    done = finish(start(*starter, tmp_path, "works"))
    assert done.returncode == 0, done.stderr_text
    assert "terminate called" not in done.stderr_text
    for rank in range(2):
        seen = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert seen == {"world": 2, "local": rank, "sum": 3.0}


@pytest.mark.slow
@EACH_STARTER
def test_the_error_of_the_process_that_failed_ends_the_job(starter, tmp_path):
    """The other one waits for it in an all-reduce."""
    done = finish(start(*starter, tmp_path, "defect"))
    assert done.returncode not in (0, 2)
    assert "KeyError: 'injected'" in done.stderr_text
    if starter is not TORCHRUN:
        assert "process 1 failed" in done.stderr_text
        assert "Connection closed" not in done.stderr_text
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_explained_error_is_a_line(tmp_path):
    done = finish(start(*STARTERS["launch"], tmp_path, "explained"))
    assert done.returncode == 2
    assert done.stderr_text.splitlines()[-1] == "launched_program.py: error: picture.png is damaged"
    assert "Traceback" not in done.stderr_text


@pytest.mark.slow
@EACH_STARTER
def test_a_killed_process_ends_the_job(starter, tmp_path):
    done = finish(start(*starter, tmp_path, "killed"))
    assert done.returncode != 0
    assert not list(tmp_path.iterdir())
    assert starter is TORCHRUN or "process 1 was killed by SIGKILL" in done.stderr_text


@pytest.mark.slow
def test_a_request_to_end_reaches_every_process(tmp_path):
    """Which may save before they do; their exit code is the program's."""
    job = start(*STARTERS["launch"], tmp_path, "waits")
    files, deadline = [tmp_path / "pid0", tmp_path / "pid1"], time.monotonic() + PATIENCE
    while not all(file.is_file() for file in files) and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    job.terminate()
    assert finish(job).returncode == 143, job.stderr_text


def parse(*words):
    return argument_parser().parse_args(words)


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (["--num-gpus", "2"], dict.fromkeys(TORCHRUN_VARIABLES, "2"), "torchrun has started the processes: leave out"),
        (["--num-machines", "2"], {}, "--num-machines 2 needs the address .* --dist-url tcp://ADDRESS:PORT"),
        (["--num-gpus", "0"], {}, "--num-gpus 0 and --num-machines 1 must be at least 1"),
    ],
)
def test_processes_that_cannot_be(words, variables, message, monkeypatch):
    for name in TORCHRUN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        number_of_processes(parse(*words))


def test_the_processes_of_a_job_are_counted(monkeypatch):
    for name in TORCHRUN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert number_of_processes(parse()) == 1
    address = ["--dist-url", "tcp://127.0.0.1:29500"]
    assert number_of_processes(parse("--num-gpus", "4", "--num-machines", "3", *address)) == 12
    for name in TORCHRUN_VARIABLES:
        monkeypatch.setenv(name, "6")
    assert number_of_processes(parse()) == 6
