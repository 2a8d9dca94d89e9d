"""Kill a training run at random moments, resume it each time, and compare its final state with an unbroken run.

python tests/reliability/kill_harness.py --kills 30 --seed 0 --folder /tmp/kills

Trains on the toy scenes of DETECTRON2_DATASETS. Each attempt is a process that is forked from this one and killed with
SIGKILL at a moment that the seed decides. Every second attempt loads its data in a worker process. Prints one line of
JSON. Exits with an error if an attempt lost more than one checkpoint period, or if the final states differ.
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng

from helpers.toy_run import assert_same, final_state, run, toy_run_cfg

PERIOD, ITERATIONS = 3, 45
CHANGES = {
    "SOLVER__MAX_ITER": ITERATIONS,
    "SOLVER__CHECKPOINT_PERIOD": PERIOD,
    "TEST__EVAL_PERIOD": 15,
    "SOLVER__EMA__ENABLED": True,
    "SOLVER__AMP__ENABLED": True,
    "SOLVER__AMP__PRECISION": "bfloat16",
}


class ProgressLog(HookBase):
    """Appends the first iteration of an attempt, and each finished iteration, to a text file."""

    def __init__(self, path):
        self.path = path

    def before_train(self):
        self.append(f"start {self.trainer.start_iter}")

    def after_step(self):
        self.append(f"done {self.trainer.iter + 1}")

    def append(self, text):
        with self.path.open("a") as file:
            file.write(f"{text}\n")


def train(folder, workers):
    """Start or resume the run in `folder`, and end the process after the last iteration."""
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    seed_all_rng(1)
    run(
        toy_run_cfg(folder, DATALOADER__NUM_WORKERS=workers, **CHANGES),
        resume=True,
        hooks=[ProgressLog(folder / "progress.txt")],
    )
    os._exit(0)


def start(folder, workers):
    process = multiprocessing.get_context("fork").Process(target=train, args=(folder, workers))
    process.start()
    return process


def progress(folder):
    """The lines of `ProgressLog`, split into words."""
    path = folder / "progress.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.is_file() else []


def start_and_kill(folder, workers, random_numbers, seconds):
    """Start the run, and kill it after a random number of iterations and a random fraction of the next one.

    Args:
        seconds: approximate time of an iteration.

    Returns:
        Whether the run was killed; False if it had ended before.
    """
    num_lines = len(progress(folder)) + 1 + random_numbers.randrange(2 * PERIOD)
    process = start(folder, workers)
    deadline = time.monotonic() + 120
    while process.is_alive() and len(progress(folder)) < num_lines and time.monotonic() < deadline:
        time.sleep(0.002)
    process.join(timeout=random_numbers.uniform(0, 1.5 * seconds))
    killed = process.is_alive()
    if killed:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    if not killed and process.exitcode:
        raise SystemExit(f"the run failed with exit code {process.exitcode}")
    return killed


def most_lost(folder):
    """The largest number of iterations that an attempt had to repeat."""
    lost = finished = 0
    for kind, number in progress(folder):
        if kind == "start":
            lost = max(lost, finished - int(number))
        finished = int(number)
    return lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    random_numbers = random.Random(args.seed)
    unbroken = args.folder / "unbroken"
    begin = time.monotonic()
    start(unbroken, 0).join()
    seconds = (time.monotonic() - begin) / ITERATIONS
    kills = runs = lost = unfinished_files = 0
    while kills < args.kills:
        folder = args.folder / f"run_{runs}"
        killed = True
        while killed and kills < args.kills:
            killed = start_and_kill(folder, kills % 2, random_numbers, seconds)
            kills += killed
            unfinished_files += len(list(folder.glob(".*unfinished*")))
        if killed:
            start(folder, 0).join()
        assert_same(final_state(folder), final_state(unbroken))
        assert not list(folder.glob(".*unfinished*"))
        lost = max(lost, most_lost(folder))
        runs += 1
    result = {"kills": kills, "runs": runs, "most_lost": lost, "period": PERIOD, "half_written": unfinished_files}
    sys.stdout.write(json.dumps(result) + "\n")
    if lost > PERIOD:
        raise SystemExit("an attempt lost more than one checkpoint period")


if __name__ == "__main__":
    main()
