"""The options of a job of several processes: its parser, and the checks on them before `launch`."""

from __future__ import annotations

import argparse
import os
import re

from segvit.errors import UserError

# The environment variables that torchrun sets in each process.
TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def argument_parser(description: str | None = None) -> argparse.ArgumentParser:
    """The options of Detectron2's `default_argument_parser`, with --dist-url auto also on several processes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="the config, a YAML file")
    add("--resume", action="store_true", help="continue from the newest checkpoint in OUTPUT_DIR (default: start anew)")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS and do not train (default: train)")
    add("--num-gpus", type=int, default=1, metavar="N", help="processes on this machine, one per GPU (default: 1)")
    add("--num-machines", type=int, default=1, metavar="N", help="machines of the job (default: 1)")
    add("--machine-rank", type=int, default=0, metavar="I", help="index of this machine, from 0 (default: 0)")
    add(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="where the processes meet, such as tcp://HOST:PORT; machines need one, a single machine does not "
        "(default: auto)",
    )
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides, after all options")
    return parser


def started_by_torchrun() -> bool:
    """Whether torchrun started this process (also if it started only one)."""
    return all(name in os.environ for name in TORCHRUN_VARIABLES)


def number_of_processes(args: argparse.Namespace) -> int:
    """The number of processes of the whole job.

    Raises:
        UserError: if the number is below 1, if it is given both here and to torchrun, or if there are several machines
            and no address of the first one.
    """
    if min(args.num_gpus, args.num_machines) < 1:
        raise UserError(f"--num-gpus {args.num_gpus} and --num-machines {args.num_machines} must be at least 1")
    if started_by_torchrun():
        if args.num_gpus * args.num_machines > 1:
            raise UserError("torchrun has started the processes: leave out --num-gpus and --num-machines")
        return int(os.environ["WORLD_SIZE"])
    if args.num_machines > 1 and args.dist_url == "auto":
        raise UserError(
            f"--num-machines {args.num_machines} needs the address of the first one and a free port there: "
            "--dist-url tcp://ADDRESS:PORT"
        )
    return args.num_gpus * args.num_machines


def require_gpu_per_process(device: str, processes: int) -> None:
    """Raise UserError if MODEL.DEVICE puts all of several processes on one GPU."""
    if processes > 1 and re.fullmatch(r"cuda:\d+", device):
        raise UserError(
            f"MODEL.DEVICE {device} puts all {processes} processes on one GPU: set MODEL.DEVICE cuda, by which each "
            "process takes its own; CUDA_VISIBLE_DEVICES chooses among the GPUs"
        )
