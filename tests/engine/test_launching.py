"""`launch`: processes meet and leave in order, and a job ends as a whole if one of its processes fails."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from helpers.forked_python import run_under_torchrun
from helpers.processes import TIMEOUT_SECONDS, Program, run_program
from helpers.repository import ROOT
from segvit.engine.launch_options import TORCHRUN_VARIABLES, argument_parser, number_of_processes

SCRIPT = ROOT / "tests" / "helpers" / "launched_program.py"
# --standalone takes a free port of its own.
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT]
TORCHRUN += ["--config-file", "none"]
LAUNCH = [sys.executable, SCRIPT, "--config-file", "none", "--num-gpus", "2"]
EACH_STARTER = pytest.mark.parametrize("starter", [LAUNCH, TORCHRUN], ids=["launch", "torchrun"])


def run_command(*command):
    """Run a true program, in a session of its own so that nothing of it outlives the test."""
    variables = {name: value for name, value in os.environ.items() if name not in TORCHRUN_VARIABLES}
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        start_new_session=True,
    )
    try:
        process.stdout_text, process.stderr_text = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        kill_session(process.pid)
    return process


def kill_session(leader):
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.mark.slow
@EACH_STARTER
def test_processes_meet_and_leave(starter, tmp_path):
    done = run_command(*starter, tmp_path, "works")
    assert done.returncode == 0, done.stderr_text
    assert "terminate called" not in done.stderr_text
    for rank in range(2):
        written = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert written == {"world": 2, "local": rank, "sum": 3.0}


def test_a_defect_in_one_process_ends_a_job_of_torchrun(tmp_path):
    """The other process waits for it in an all-reduce."""
    done = run_under_torchrun(SCRIPT, "--config-file", "none", tmp_path, "defect")
    assert done.returncode not in (0, 2)
    assert "KeyError: 'injected'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_defect_in_a_process_of_torchrun_ends_it_at_once(tmp_path):
    """An interpreter waits for its threads, and those of NCCL and gloo may wait for ever."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    environment = ranks | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    done = run_program(SCRIPT, "--config-file", "none", tmp_path, "leaves a thread", environment=environment)
    assert done.returncode == 1
    assert "KeyError: 'injected'" in done.stderr


def launched(folder, deed):
    return run_program(SCRIPT, "--config-file", "none", "--num-gpus", "2", folder, deed)


def test_a_defect_in_one_process_ends_the_job_with_its_traceback(tmp_path):
    """The other process waits for it in an all-reduce, and its lost connection is not the error that is reported."""
    done = launched(tmp_path, "defect")
    assert done.returncode not in (0, 2)
    assert "KeyError: 'injected'" in done.stderr and "process 1 failed" in done.stderr
    assert "Connection closed" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_user_error_in_one_process_is_one_line(tmp_path):
    done = launched(tmp_path, "explained")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "launched_program.py: error: image.png is damaged"
    assert "Traceback" not in done.stderr


def test_a_killed_process_ends_the_job(tmp_path):
    done = launched(tmp_path, "killed")
    assert done.returncode not in (0, 2)
    assert "process 1 was killed by SIGKILL" in done.stderr
    assert not list(tmp_path.iterdir())


def test_sigterm_reaches_every_process(tmp_path):
    """They may save before they exit; the exit code of the job is theirs."""
    job = Program(SCRIPT, "--config-file", "none", "--num-gpus", "2", tmp_path, "waits")
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not all(file.is_file() for file in files) and job.returncode is None and time.monotonic() < deadline:
        time.sleep(0.05)
    job.terminate()
    assert job.wait().returncode == 143, job.stderr


def parse(*words):
    return argument_parser().parse_args(["--config-file", "none", *words])


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (["--num-gpus", "2"], dict.fromkeys(TORCHRUN_VARIABLES, "2"), "torchrun has started the processes: leave out"),
        (["--num-machines", "2"], {}, "--num-machines 2 needs the address .* --dist-url tcp://ADDRESS:PORT"),
        (["--num-gpus", "0"], {}, "--num-gpus 0 and --num-machines 1 must be at least 1"),
    ],
)
def test_impossible_numbers_of_processes_are_refused(words, variables, message, monkeypatch):
    for name in TORCHRUN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        number_of_processes(parse(*words))


def test_number_of_processes(monkeypatch):
    for name in TORCHRUN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert number_of_processes(parse()) == 1
    address = ["--dist-url", "tcp://127.0.0.1:29500"]
    assert number_of_processes(parse("--num-gpus", "4", "--num-machines", "3", *address)) == 12
    for name in TORCHRUN_VARIABLES:
        monkeypatch.setenv(name, "6")
    assert number_of_processes(parse()) == 6
