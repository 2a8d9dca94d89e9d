"""An interruption ends every process of a job; dead data workers and one GPU for all have messages for users."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from helpers.processes import TIMEOUT_SECONDS
from helpers.repository import ROOT
from segvit.cli_errors import user_errors
from segvit.engine.launch_options import require_gpu_per_process
from segvit.errors import UserError


@pytest.mark.slow
@pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="SIGINT is ignored in background jobs")
def test_an_interruption_of_the_first_process_ends_the_job(tmp_path):
    program = ROOT / "tests" / "helpers" / "launched_program.py"
    command = [sys.executable, program, "--config-file", "none", "--num-gpus", "2", tmp_path, "waits"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    try:
        files, deadline = [tmp_path / "pid0", tmp_path / "pid1"], time.monotonic() + TIMEOUT_SECONDS
        while not all(file.is_file() and file.read_text() for file in files):
            assert job.poll() is None, job.communicate()[1]
            assert time.monotonic() < deadline, "the processes did not start"
            time.sleep(0.05)
        pids = [int(file.read_text()) for file in files]
        os.kill(job.pid, signal.SIGINT)
        _, errors = job.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        job.kill()
    assert job.returncode == 130, errors
    assert "interrupted" in errors and "Traceback" not in errors
    assert "leaked" not in errors  # by the resource tracker of multiprocessing
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class Dies(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_data_worker_is_explained(capsys):
    with pytest.raises(SystemExit) as ended, user_errors():
        list(torch.utils.data.DataLoader(Dies(), num_workers=1))
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "memory" in message and "DATALOADER.NUM_WORKERS" in message and "Traceback" not in message


def test_several_processes_on_one_gpu_are_refused():
    with pytest.raises(UserError, match=r"MODEL\.DEVICE cuda:0 .* 2 processes"):
        require_gpu_per_process("cuda:0", 2)
    require_gpu_per_process("cuda:1", 1)
    require_gpu_per_process("cuda", 2)
    require_gpu_per_process("cpu", 2)
