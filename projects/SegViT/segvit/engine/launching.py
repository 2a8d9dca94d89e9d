"""The processes of a job: started here, or by torchrun, they form one process group and leave it in order.

Unlike Detectron2's `launch`, a process that torchrun started joins its group; where a process fails, its error, and not
that of one that lost its connection to it, ends the job; and no group is left to the interpreter's shutdown, which
gloo's threads can abort.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.engine import default_argument_parser
from detectron2.utils import comm
from torch.distributed.elastic.multiprocessing.errors import record

from segvit.cli_errors import describe, is_explained
from segvit.errors import UserError

Work = Callable[[argparse.Namespace], object]

# What torchrun tells each process that it starts.
TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# How long a process waits in vain for another; Detectron2's.
TIMEOUT = datetime.timedelta(minutes=30)
# Seconds from a failed process until the others, by now stuck or saving, are asked to end; as many until they must.
GRACE_SECONDS = 30
FIRST_ERROR = "first_error"


def argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Detectron2's, but the processes of one machine need no port, so that two jobs cannot meet at one."""
    parser = default_argument_parser(epilog)
    parser.set_defaults(dist_url="auto")
    return parser


def started_by_torchrun() -> bool:
    """Whether this is one of several processes already; torchrun gives the variables also where it starts only one."""
    return all(name in os.environ for name in TORCHRUN_VARIABLES)


def number_of_processes(args: argparse.Namespace) -> int:
    """Of the whole job.

    Raises:
        UserError: for a number of processes that is none, or told to torchrun and here; several machines without the
            address of the first.
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


def hide_gpus_from_cpu_models(device: str) -> None:
    """Before any process starts: NCCL, and a GPU per process, is taken wherever one is seen; CPU models need gloo."""
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def launch(work: Work, args: argparse.Namespace) -> None:
    """Call `work(args)` in every process of the job.

    Args:
        work: a function of a module, so that a new process finds it.
        args: of `argument_parser`, with num_gpus, num_machines, machine_rank and dist_url.

    Raises:
        UserError: where a process failed for a reason that its message explains to users (see `segvit.cli_errors`).
        RuntimeError: where a process failed otherwise, with its traceback, or was killed.
        SystemExit: where a process ended with another exit code than 0.
    """
    processes = number_of_processes(args)
    if started_by_torchrun():
        _join_torchrun(work, args)
    elif processes == 1:
        work(args)
    else:
        with tempfile.TemporaryDirectory(prefix="segvit_") as folder:
            _spawn(work, args, Path(folder))


@record  # torchrun tells by what this writes which process failed first
def _join_torchrun(work: Work, args: argparse.Namespace) -> None:
    local_rank, local_processes = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    rank, processes = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    _join_group("env://", rank=rank, processes=processes, local_rank=local_rank, local_processes=local_processes)
    try:
        work(args)
    except SystemExit as ended:  # as all processes do behind SIGTERM
        _leave_group(ended.code)
        raise
    _leave_group()


def _spawn(work: Work, args: argparse.Namespace, folder: Path) -> None:
    context = mp.start_processes(_work_in_process, args=(work, args, folder), nprocs=args.num_gpus, join=False)
    before = signal.signal(signal.SIGTERM, lambda *_: [process.terminate() for process in context.processes])
    try:
        while not context.join(grace_period=GRACE_SECONDS):
            pass
    except mp.ProcessExitedException:
        _raise_first_error(folder, context)
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise_first_error(folder: Path, context: mp.ProcessContext) -> None:
    """A process that a signal ended could write nothing, and what it broke in another may be the first that was."""
    codes = dict(enumerate(process.exitcode for process in context.processes))
    killed = [f"process {rank} was ended by {signal.Signals(-code).name}" for rank, code in codes.items() if code < 0]
    kind = message = ""
    if (folder / FIRST_ERROR).is_file():
        kind, _, message = (folder / FIRST_ERROR).read_text(encoding="utf-8").partition("\n")
    if kind == "explained":
        raise UserError(message) from None
    if not message and not killed:
        raise SystemExit(max(codes.values())) from None
    raise RuntimeError("\n".join([*killed, message])) from None


def _work_in_process(local_rank: int, work: Work, args: argparse.Namespace, folder: Path) -> None:
    rank = args.machine_rank * args.num_gpus + local_rank
    url = (folder / "store").as_uri() if args.dist_url == "auto" else args.dist_url
    try:
        _join_group(
            url,
            rank=rank,
            processes=args.num_gpus * args.num_machines,
            local_rank=local_rank,
            local_processes=args.num_gpus,
        )
        work(args)
    except SystemExit as ended:  # as all processes do behind SIGTERM
        _leave_group(ended.code)
        raise
    except Exception as error:
        _tell_first_error(folder, rank, error)
        _end_now(1)  # the others, who wait for this process, are to notice at once
    _leave_group()


def _join_group(url: str, *, rank: int, processes: int, local_rank: int, local_processes: int) -> None:
    has_gpu = torch.cuda.is_available()
    if has_gpu and local_processes > torch.cuda.device_count():
        raise UserError(
            f"{local_processes} processes need a GPU each, and this machine has {torch.cuda.device_count()}: start "
            "fewer, or end the command with MODEL.DEVICE cpu"
        )
    if has_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group(
        "nccl" if has_gpu else "gloo", init_method=url, rank=rank, world_size=processes, timeout=TIMEOUT
    )
    comm.create_local_process_group(local_processes)
    comm.synchronize()


def _leave_group(code: int = 0) -> None:
    gc.collect()  # ends the workers of data loaders that nobody holds any more
    comm.synchronize()  # no process closes its connections while another still uses them
    backend = dist.get_backend()
    dist.destroy_process_group()
    if backend == "gloo":
        _end_now(code)  # its threads may outlive the group, and abort an interpreter that shuts down around them


def _tell_first_error(folder: Path, rank: int, error: Exception) -> None:
    """Write what went wrong, unless another process did so before: what it broke here is no news."""
    if is_explained(error):
        text = f"explained\n{describe(error)}"
    else:
        text = f"defect\nprocess {rank} failed:\n{traceback.format_exc()}"
    own = folder / f"{FIRST_ERROR}_{rank}"
    own.write_text(text, encoding="utf-8")
    try:
        os.link(own, folder / FIRST_ERROR)  # whole or not at all, and only once
    except FileExistsError:
        logging.getLogger(__name__).info("process %d ended behind another one: %s", rank, error)


def _end_now(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
