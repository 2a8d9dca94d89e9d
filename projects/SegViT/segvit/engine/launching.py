"""`launch`: run a function in one process, in several that are started here, or in those that torchrun started.

Differs from Detectron2's `launch` in three ways:

- a process that torchrun started joins torchrun's group, and ends at once after an error;
- the error that ends the job is that of the process that failed first, not that of one that lost its connection to it;
- the process group is destroyed before the interpreter shuts down, because gloo's threads can abort the shutdown.

torch's `elastic_launch` does not do this job: it waits for return values of processes that `_leave_group` ends, and
after SIGTERM it reports neither the program's exit code nor waits longer than 30 seconds for a checkpoint.
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
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.utils import comm
from torch.distributed.elastic.multiprocessing.errors import record

from segvit.cli_errors import INTERRUPTED, describe, is_explained, user_errors
from segvit.engine.launch_options import number_of_processes, started_by_torchrun
from segvit.errors import END_OF_COMMAND, UserError

Work = Callable[[argparse.Namespace], object]

# How long a collective operation waits for other processes; Detectron2's default.
TIMEOUT = datetime.timedelta(minutes=30)
# After a process has failed, the others get SIGTERM after this many seconds, and SIGKILL after as many more.
GRACE_SECONDS = 30
# After an interruption, processes that have not ended in this time are killed.
INTERRUPT_SECONDS = 10
# The file, in the job's temporary folder, with the error of the process that failed first.
FIRST_ERROR = "first_error"
# First line of that file: the message is for users, or a traceback follows.
USER_ERROR, DEFECT = "user error", "defect"


def hide_gpus_from_cpu_models(device: str) -> None:
    """Make a CPU model use gloo: `launch` chooses NCCL wherever a GPU is visible. Call it before `launch`."""
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def launch(work: Work, args: argparse.Namespace) -> None:
    """Call `work(args)` in every process of the job.

    Args:
        work: a function at the top level of a module, so that it can be pickled.
        args: arguments of `launch_options.argument_parser`: num_gpus, num_machines, machine_rank and dist_url.

    Raises:
        UserError: a process failed with a message for users (see `segvit.cli_errors`).
        RuntimeError: a process was killed, or failed otherwise; the message has its rank and traceback.
        SystemExit: a process exited with a code other than 0.
    """
    processes = number_of_processes(args)
    if started_by_torchrun():
        _join_torchrun(work, args)
    elif processes == 1:
        work(args)
    else:
        with tempfile.TemporaryDirectory(prefix="segvit_") as folder:
            _spawn(work, args, Path(folder))


def _join_torchrun(work: Work, args: argparse.Namespace) -> None:
    """Work as one of torchrun's processes, and end at once after an error, as `_work_in_process` does.

    The threads of NCCL and gloo can keep an interpreter with an error from shutting down, and torchrun waits for it.
    """
    try:
        with user_errors():
            _work_in_torchrun(work, args)
    except (Exception, SystemExit) as error:
        if not dist.is_initialized():  # it has left the group, or never joined it
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        _exit_now(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)


@record  # writes the error file by which torchrun reports the process that failed first
def _work_in_torchrun(work: Work, args: argparse.Namespace) -> None:
    _join_group(
        "env://",
        rank=int(os.environ["RANK"]),
        processes=int(os.environ["WORLD_SIZE"]),
        local_rank=int(os.environ["LOCAL_RANK"]),
        local_processes=int(os.environ["LOCAL_WORLD_SIZE"]),
    )
    _work_and_leave(work, args)


def _work_and_leave(work: Work, args: argparse.Namespace) -> None:
    try:
        work(args)
    except SystemExit as exit_:  # all processes exit together after SIGTERM
        _leave_group(exit_.code if isinstance(exit_.code, int) else 1)
        raise
    _leave_group()


def _spawn(work: Work, args: argparse.Namespace, folder: Path) -> None:
    context = mp.start_processes(_work_in_process, args=(work, args, folder), nprocs=args.num_gpus, join=False)
    previous = signal.signal(signal.SIGTERM, lambda *_: [process.terminate() for process in context.processes])
    try:
        while not context.join(grace_period=GRACE_SECONDS):
            pass
    except mp.ProcessExitedException:
        _raise_first_error(folder, context)
    except KeyboardInterrupt:
        _end_processes(context)  # it may have reached this process alone: `kill -INT`
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def _end_processes(context: mp.ProcessContext) -> None:
    """Interrupt the processes of a job; kill those that do not end."""
    for process in context.processes:
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGINT)
    deadline = time.monotonic() + INTERRUPT_SECONDS
    for process in context.processes:
        process.join(max(deadline - time.monotonic(), 0))
        if process.is_alive():
            process.kill()
            process.join()


def _raise_first_error(folder: Path, context: mp.ProcessContext) -> None:
    """Raise the first error that was written, after the names of processes that a signal killed.

    A killed process writes nothing, so the first written error may be a consequence of its death in another process.
    """
    codes = dict(enumerate(process.exitcode for process in context.processes))
    killed = [f"process {rank} was killed by {signal.Signals(-code).name}" for rank, code in codes.items() if code < 0]
    kind = message = ""
    if (folder / FIRST_ERROR).is_file():
        kind, _, message = (folder / FIRST_ERROR).read_text(encoding="utf-8").partition("\n")
    if kind == USER_ERROR:
        raise UserError(message) from None
    if not message and not killed:
        raise SystemExit(max(codes.values())) from None
    if any(code == -signal.SIGKILL for code in codes.values()):
        killed.append("SIGKILL is mostly that of a machine without free memory: lower SOLVER.IMS_PER_BATCH")
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
        _work_and_leave(work, args)
    except KeyboardInterrupt:
        _exit_now(INTERRUPTED)
    except Exception as error:
        _write_first_error(folder, rank, error)
        _exit_now(1)  # closes the connections, so that processes that wait for this one fail at once


def _join_group(url: str, *, rank: int, processes: int, local_rank: int, local_processes: int) -> None:
    has_gpu = torch.cuda.is_available()
    if has_gpu and local_processes > torch.cuda.device_count():
        raise UserError(
            f"{local_processes} processes need a GPU each, and this machine has {torch.cuda.device_count()}: start "
            f"fewer, or {END_OF_COMMAND}MODEL.DEVICE cpu"
        )
    if has_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group(
        "nccl" if has_gpu else "gloo", init_method=url, rank=rank, world_size=processes, timeout=TIMEOUT
    )
    comm.create_local_process_group(local_processes)
    comm.synchronize()


def _leave_group(code: int = 0) -> None:
    gc.collect()  # ends the workers of data loaders that are no longer referenced
    comm.synchronize()  # no process closes its connections while another one still uses them
    backend = dist.get_backend()
    dist.destroy_process_group()
    if backend == "gloo":
        _exit_now(code)  # its threads may outlive the group, and would abort an interpreter that shuts down


def _write_first_error(folder: Path, rank: int, error: Exception) -> None:
    """Write the error, unless another process has already failed: then this error is a consequence of that one."""
    if is_explained(error):
        text = f"{USER_ERROR}\n{describe(error)}"
    else:
        text = f"{DEFECT}\nprocess {rank} failed:\n{traceback.format_exc()}"
    file_of_rank = folder / f"{FIRST_ERROR}_{rank}"
    file_of_rank.write_text(text, encoding="utf-8")
    try:
        os.link(file_of_rank, folder / FIRST_ERROR)  # atomic, and fails if the file exists
    except FileExistsError:
        logging.getLogger(__name__).info("process %d failed after another one: %s", rank, error)


def _exit_now(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
