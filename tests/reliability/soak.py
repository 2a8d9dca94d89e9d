"""Soak test: train on toy scenes, evaluate and save checkpoints, and record memory and open files of the process.

    python tests/reliability/soak.py --iterations 2000 --output output/soak

writes soak.json and, with --plot, a curve.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng

from helpers.toy_run import run, toy_run_cfg
from segvit.dataset_tools.toy_scenes import generate_toy_scenes

MIB = 2**20


class ResourceRecorder(HookBase):
    """Records resident memory in MiB and the number of open files every `period` iterations."""

    def __init__(self, period):
        self.period = period
        self.iterations, self.resident, self.files = [], [], []

    def after_step(self):
        if (self.trainer.iter + 1) % self.period == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.iterations.append(self.trainer.iter + 1)
            self.resident.append(pages * os.sysconf("SC_PAGE_SIZE") / MIB)
            self.files.append(len(os.listdir("/proc/self/fd")))


def soak(output, *, iterations, period):
    """Train, evaluate and save every `period` iterations; returns and writes the recorded resources."""
    torch.set_num_threads(1)
    data = output / "data"
    if not data.is_dir():
        generate_toy_scenes(data, seed=0, num_train=12, num_val=4)
    os.environ["DETECTRON2_DATASETS"] = str(data)
    seed_all_rng(0)
    changes = {"SOLVER__MAX_ITER": iterations, "TEST__EVAL_PERIOD": period, "SOLVER__CHECKPOINT_PERIOD": period}
    recorder = ResourceRecorder(max(period // 4, 1))
    run(toy_run_cfg(output / "run", **changes), resume=False, hooks=[recorder])
    records = {"iterations": recorder.iterations, "resident_mib": recorder.resident, "open_files": recorder.files}
    (output / "soak.json").write_text(json.dumps(records))
    return records


def growth(records):
    """Growth from the second fifth of the run to the last one: of mean memory, relative, and of open files.

    Open files are compared by their minimum, so that a file that is open for a moment does not count.
    """
    fifth = len(records["iterations"]) // 5
    first, last = (
        sum(part) / fifth for part in (records["resident_mib"][fifth : 2 * fifth], records["resident_mib"][-fifth:])
    )
    return last / first - 1, min(records["open_files"][-fifth:]) - min(records["open_files"][fifth : 2 * fifth])


def plot(records, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 2.8), layout="constrained")
    axes.plot(records["iterations"], records["resident_mib"], label="resident memory, MiB")
    axes.plot(records["iterations"], records["open_files"], label="open files")
    axes.set(xlabel="iteration", ylim=(0, None))
    axes.legend(loc="center right")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument(
        "--period", type=int, default=100, help="iterations from one evaluation and checkpoint to the next"
    )
    parser.add_argument("--output", type=Path, default=Path("output/soak"))
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    result = soak(args.output.resolve(), iterations=args.iterations, period=args.period)
    if args.plot:
        plot(result, args.plot)
    memory, files = growth(result)
    print(f"memory {100 * memory:+.2f} %, open files {files:+d}")  # noqa: T201
