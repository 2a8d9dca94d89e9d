"""Kill a training run at random moments, resume it each time, and compare its final state with an unbroken run.

python tests/reliability/kill_harness.py --kills 30 --seed 0 --folder /tmp/kills

Trains on the toy scenes of DETECTRON2_DATASETS. Processes are forked from this one, which has imported what
they need, and killed with SIGKILL at moments that the seed decides. Every other life loads its data by a worker. Prints
one line of JSON, and ends with an error where a life lost more than one checkpoint period, or the ends differ.
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


class Diary(HookBase):
    """Writes down where a life began and what it finished."""

    def __init__(self, path):
        self.path = path

    def before_train(self):
        self.note(f"start {self.trainer.start_iter}")

    def after_step(self):
        self.note(f"done {self.trainer.iter + 1}")

    def note(self, text):
        with self.path.open("a") as diary:
            diary.write(f"{text}\n")


def live(folder, workers):
    """One life of the run, until its end unless it is killed."""
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    seed_all_rng(1)
    run(
        toy_run_cfg(folder, DATALOADER__NUM_WORKERS=workers, **CHANGES),
        resume=True,
        hooks=[Diary(folder / "diary.txt")],
    )
    os._exit(0)


def start(folder, workers):
    life = multiprocessing.get_context("fork").Process(target=live, args=(folder, workers))
    life.start()
    return life


def entries(folder):
    path = folder / "diary.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.is_file() else []


def kill_one_life(folder, workers, draw, seconds):
    """Start, wait for a random number of iterations and a random while, kill. Returns whether it was still alive then.

    Args:
        seconds: that an iteration takes, about.
    """
    wanted = len(entries(folder)) + 1 + draw.randrange(2 * PERIOD)
    life = start(folder, workers)
    deadline = time.monotonic() + 120
    while life.is_alive() and len(entries(folder)) < wanted and time.monotonic() < deadline:
        time.sleep(0.002)
    life.join(timeout=draw.uniform(0, 1.5 * seconds))
    killed = life.is_alive()
    if killed:
        os.kill(life.pid, signal.SIGKILL)
    life.join()
    if not killed and life.exitcode:
        raise SystemExit(f"life ended by itself with exit code {life.exitcode}")
    return killed


def most_lost(folder):
    """The most iterations that any life had to do again."""
    lost = finished = 0
    for kind, number in entries(folder):
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
    draw = random.Random(args.seed)
    whole = args.folder / "whole"
    begin = time.monotonic()
    start(whole, 0).join()
    seconds = (time.monotonic() - begin) / ITERATIONS
    kills, runs, lost, leftovers = 0, 0, 0, 0
    while kills < args.kills:
        folder = args.folder / f"run_{runs}"
        alive = True
        while alive and kills < args.kills:
            alive = kill_one_life(folder, workers=kills % 2, draw=draw, seconds=seconds)
            kills += alive
            leftovers += len(list(folder.glob(".*unfinished*")))
        if alive:
            start(folder, 0).join()
        assert_same(final_state(folder), final_state(whole))
        assert not list(folder.glob(".*unfinished*"))
        lost = max(lost, most_lost(folder))
        runs += 1
    found = {"kills": kills, "runs": runs, "most_lost": lost, "period": PERIOD, "half_written": leftovers}
    sys.stdout.write(json.dumps(found) + "\n")
    if lost > PERIOD:
        raise SystemExit("a life lost more than one checkpoint period")


if __name__ == "__main__":
    main()
