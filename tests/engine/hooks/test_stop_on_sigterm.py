"""SIGTERM stops a run after the current iteration; the resumed run ends as an unbroken one."""

import os
import signal
import time

import pytest
from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng

from helpers.processes import Program, run_in_two_processes, run_program
from helpers.repository import PROJECT
from helpers.toy_run import assert_same, final_state, run, toy_run_cfg
from segvit.data.train_loader import survive_one_sigterm


class Terminate(HookBase):
    """Sends SIGTERM to this process in an iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_step(self):
        if self.trainer.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)


def stopped_and_resumed(folder, *, iteration, in_this_process=True):
    hooks = [Terminate(iteration)] if in_this_process else []
    with pytest.raises(SystemExit) as ended:
        run(toy_run_cfg(folder), resume=False, hooks=hooks)
    assert ended.value.code == 75
    assert (folder / "last_checkpoint").read_text() == f"model_{iteration:07d}.pth"
    return run(toy_run_cfg(folder), resume=True)


def test_the_run_stops_after_the_iteration_and_saves_it(toy_scenes_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    before = signal.getsignal(signal.SIGTERM)
    seed_all_rng(1)
    run(toy_run_cfg(tmp_path / "whole"), resume=False)
    seed_all_rng(1)
    resumed = stopped_and_resumed(tmp_path / "parts", iteration=2)  # evaluated, and not yet due for a checkpoint
    assert resumed.start_iter == 3
    assert_same(final_state(tmp_path / "parts"), final_state(tmp_path / "whole"))
    assert signal.getsignal(signal.SIGTERM) is before


def terminate_one_of_two(rank, folder, root):
    os.environ["DETECTRON2_DATASETS"] = root
    seed_all_rng(1 + rank)
    stopped_and_resumed(folder / "run", iteration=2, in_this_process=rank == 1)


def test_sigterm_to_one_process_stops_both(toy_scenes_root, tmp_path):
    run_in_two_processes(terminate_one_of_two, tmp_path, str(toy_scenes_root))
    assert (tmp_path / "run" / "model_final.pth").is_file()


def test_workers_survive_the_first_sigterm_only():
    child = os.fork()
    if child == 0:
        survive_one_sigterm(0)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)  # not reached
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_the_program_exits_with_75_and_resumes(toy_scenes_root, tmp_path):
    """Two processes, stopped as a scheduler stops them: the signal goes to the first process."""
    config = PROJECT / "configs" / "quick_schedules" / "toy_scenes.yaml"
    command = [PROJECT / "train_net.py", "--num-gpus", "2", "--dist-url", "auto", "--config-file", config]
    options = ["SOLVER.IMS_PER_BATCH", "2", "TEST.EVAL_PERIOD", "0", "OUTPUT_DIR", tmp_path / "run"]
    environment = {"DETECTRON2_DATASETS": str(toy_scenes_root)}
    job = Program(*command, *options, "SOLVER.MAX_ITER", "400", environment=environment)
    log = tmp_path / "run" / "log.txt"
    while job.returncode is None and not (log.is_file() and "Starting training" in log.read_text()):
        time.sleep(0.1)
    time.sleep(1)
    job.terminate()
    assert job.wait().returncode == 75, job.stderr
    last = (tmp_path / "run" / "last_checkpoint").read_text()
    stopped = int(last.removeprefix("model_").removesuffix(".pth"))
    end = ["SOLVER.MAX_ITER", stopped + 3]
    resumed = run_program(*command, "--resume", *options, *end, environment=environment)
    assert resumed.returncode == 0, resumed.stderr
    assert f"Starting training from iteration {stopped + 1}" in log.read_text()
    assert (tmp_path / "run" / "model_final.pth").is_file()
