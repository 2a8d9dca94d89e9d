"""An interruption ends every process of a job; dead data workers and one GPU for all have messages for users."""

import os
import signal
import time

import pytest
import torch
from test_launching import PATIENCE, STARTERS, finish, start

from segvit.cli_errors import user_errors
from segvit.engine.launching import require_gpu_per_process
from segvit.errors import UserError


@pytest.mark.slow
def test_an_interruption_of_the_first_process_ends_the_job(tmp_path):
    job = start(*STARTERS["launch"], tmp_path, "waits")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        pytest.skip("SIGINT is ignored in background jobs")
    files, deadline = [tmp_path / "pid0", tmp_path / "pid1"], time.monotonic() + PATIENCE
    while not all(file.is_file() and file.read_text() for file in files) and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(file.read_text()) for file in files]
    os.kill(job.pid, signal.SIGINT)
    assert finish(job).returncode == 130, job.stderr_text
    assert "interrupted" in job.stderr_text and "Traceback" not in job.stderr_text
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
