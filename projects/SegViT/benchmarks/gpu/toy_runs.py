"""Training runs on the toy scenes, started as a user would: precisions, SIGTERM and --resume, torchrun.

All runs are started together, since each of them alone leaves most of a GPU idle.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from gpu.checks import Check, Values
from gpu.kinds import CONFIGS
from segvit.dataset_tools.toy_scenes import generate_toy_scenes

TRAIN_NET = CONFIGS.parent / "train_net.py"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
BFLOAT16 = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "bfloat16"]
FLOAT16 = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "float16"]
EMA_AND_PARTS = ["SOLVER.EMA.ENABLED", "True", "SOLVER.EMA.DECAY", "0.99", "SOLVER.ACCUM_STEPS", "2"]
# Sums a number over one process by NCCL. It ends at once, as NCCL's threads may outlive an error for hours.
NCCL = """
import os, traceback, torch, torch.distributed as dist
try:
    dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1)
    dist.all_reduce(torch.ones(1, device="cuda"))
    torch.cuda.synchronize()
except Exception:
    traceback.print_exc()
    os._exit(1)
os._exit(0)
"""
# How long the check of NCCL waits for that program.
NCCL_SECONDS = 60
# Runs that are compared, with randomness in the forward pass, have at most so many iterations.
COMPARED_ITERATIONS = 120
COMPARED = ["MODEL.SEGVIT.DROPOUT", "0.1", "MODEL.VIT.DROP_PATH_RATE", "0.1", "TEST.EVAL_PERIOD", "0"]


class ToyRuns:
    """The runs, each in a process and a folder of its own.

    Args:
        folder: of data, logs and checkpoints.
        iterations: of the runs whose mIoU is measured; others have at most `COMPARED_ITERATIONS`.
    """

    def __init__(self, folder: Path, *, iterations: int) -> None:
        self.folder = folder
        self.iterations = iterations
        self.few_iterations = min(COMPARED_ITERATIONS, iterations)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def checks(self) -> list[Check]:
        """Start all runs, then wait for each."""
        precisions = ("float32", "bfloat16", "float16, EMA, 2 parts")
        return [
            Check("toy scenes", self.generate),
            Check("start of all runs", self.start_all),
            # First of all, before the run is at its end.
            Check("SIGTERM and --resume", self.resume),
            *(Check(f"training in {name}", partial(self.accuracy, name)) for name in precisions),
            Check("torchrun, one process over NCCL", self.torchrun),
        ]

    def generate(self) -> Values:
        """Draw the toy scenes."""
        generate_toy_scenes(self.folder / "datasets", num_train=200, num_val=40)
        return {"training_images": 200, "validation_images": 40}

    def start_all(self) -> Values:
        """Start the runs; none is waited for."""
        long, short = (["SOLVER.MAX_ITER", str(count)] for count in (self.iterations, self.few_iterations))
        self.run("NCCL", ["-c", NCCL])
        self.start("float32", long)
        self.start("bfloat16", [*long, *BFLOAT16])
        self.start("float16, EMA, 2 parts", [*long, *FLOAT16, *EMA_AND_PARTS])
        self.start("torchrun", [*short, *BFLOAT16], launcher=TORCHRUN)
        for name in ("unbroken", "unbroken again", "interrupted"):
            self.start(name, [*short, *COMPARED])
        return {"processes": len(self.processes)}

    def start(self, name: str, options: list[str], *, launcher: list[str] | None = None, resume: bool = False) -> None:
        """Start one run of the toy config."""
        config = CONFIGS / "quick_schedules" / "toy_scenes.yaml"
        command = [*(launcher or []), str(TRAIN_NET), "--config-file", str(config)]
        command += ["--resume"] if resume else []
        common = ["MODEL.DEVICE", "cuda", "DATALOADER.NUM_WORKERS", "2", "TEST.EVAL_PERIOD", "100000"]
        common += ["SOLVER.WARMUP_ITERS", "20"]
        self.run(name, [*command, *common, *options, "OUTPUT_DIR", str(self.output(name))])

    def run(self, name: str, command: list[str]) -> None:
        """Start Python."""
        self.output(name).mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "DETECTRON2_DATASETS": str(self.folder / "datasets"), "OMP_NUM_THREADS": "2"}
        with open(self.output(name) / "output.txt", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def output(self, name: str) -> Path:
        """The folder of a run."""
        return self.folder / name.replace(", ", "_").replace(" ", "_")

    def wait(self, name: str) -> int:
        """Wait for a run. Returns its exit code; a run whose check is out of time is killed."""
        try:
            return self.processes[name].wait()
        except BaseException:
            self.kill(name)
            raise

    def finish(self, name: str) -> None:
        """Wait for a run. Raises RuntimeError with the end of its log where it failed."""
        code = self.wait(name)
        if code:
            raise RuntimeError(f"exit code {code}: {self.log(name)[-2500:]}")

    def log(self, name: str) -> str:
        """What a run has printed."""
        return (self.output(name) / "output.txt").read_text(encoding="utf-8", errors="replace")

    def torchrun(self) -> Values:
        """The `accuracy` of torchrun's run, unless NCCL cannot start on this machine: then it could hang, and ends."""
        reason = self.nccl_error()
        if not reason:
            return self.accuracy("torchrun")
        self.kill("torchrun")
        return {"ok": False, "skipped": f"not run: NCCL cannot start here: {reason}"}

    def nccl_error(self) -> str:
        """Why NCCL does not start; "" if it does."""
        try:
            code = self.processes["NCCL"].wait(timeout=NCCL_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill("NCCL")
            return f"no answer within {NCCL_SECONDS} s"
        return (self.log("NCCL").strip() or f"exit code {code}").splitlines()[-1] if code else ""

    def accuracy(self, name: str) -> Values:
        """mIoU on the validation scenes, and the loss at the end."""
        self.finish(name)
        results = json.loads((self.output(name) / "sem_seg_evaluation.json").read_text())["metrics"]
        mean_iou = results["mIoU"] or 0.0  # null where no class has a value
        lines = (self.output(name) / "metrics.json").read_text().splitlines()
        last = next(json.loads(line) for line in reversed(lines) if "total_loss" in line)
        return {
            "ok": mean_iou > 20,
            "mIoU": round(mean_iou, 2),
            "iterations": last["iteration"] + 1,
            "loss": round(last["total_loss"], 3),
        }

    def resume(self) -> Values:
        """Stop a run by SIGTERM and resume it; its weights differ no more than those of two unbroken runs."""
        process, metrics = self.processes["interrupted"], self.output("interrupted") / "metrics.json"
        while process.poll() is None and not (metrics.is_file() and metrics.stat().st_size):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        code = self.wait("interrupted")
        if code != os.EX_TEMPFAIL:
            self.finish("interrupted")
            raise RuntimeError(f"exit code {code} after SIGTERM in place of {os.EX_TEMPFAIL}")
        stopped_at = (self.output("interrupted") / "last_checkpoint").read_text()
        options = ["SOLVER.MAX_ITER", str(self.few_iterations), *COMPARED]
        self.start("interrupted", options, resume=True)
        for name in ("unbroken", "unbroken again", "interrupted"):
            self.finish(name)
        unbroken, again, resumed = map(self.weights, ("unbroken", "unbroken again", "interrupted"))
        differences = [((other - unbroken).norm() / unbroken.norm()).item() for other in (again, resumed)]
        return {
            "ok": differences[1] <= max(10 * differences[0], 1e-6),
            "exit_code": code,
            "stopped_at": stopped_at,
            "difference_of_two_unbroken_runs": differences[0],
            "difference_of_the_resumed_run": differences[1],
        }

    def weights(self, name: str) -> torch.Tensor:
        """All weights at the end of a run as one vector."""
        model = torch.load(self.output(name) / "model_final.pth", weights_only=True, map_location="cpu")["model"]
        return torch.cat([tensor.flatten().double() for tensor in model.values()])

    def kill_all(self) -> None:
        """End what still runs."""
        for name in self.processes:
            self.kill(name)

    def kill(self, name: str) -> None:
        """End a run with all its processes; those of torchrun have sessions of their own."""
        if self.processes[name].poll() is None:
            for process_id in [*descendants(self.processes[name].pid), self.processes[name].pid]:
                with suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)
            self.processes[name].wait()


def descendants(process_id: int) -> list[int]:
    """The processes that a process has started, and those that they have started, on Linux."""
    lists = Path("/proc", str(process_id), "task").glob("*/children")
    children = [int(word) for path in lists for word in path.read_text().split()]
    return [*children, *(later for child in children for later in descendants(child))]
