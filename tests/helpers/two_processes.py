"""Run a function in two processes that communicate by gloo, as two GPUs would by NCCL."""

import datetime
import multiprocessing
import os

import torch.distributed as dist
import torch.multiprocessing as mp

# A fork server imports these once, and each process then starts in milliseconds, where a spawned one takes seconds.
PRELOADED = ["segvit.engine", "segvit.dataset_tools.toy_scenes"]


def run_in_two_processes(work, folder, *arguments):
    """Call `work(rank, folder, *arguments)` in both processes; an error in either is raised here.

    Set environment variables in `work`: the processes do not inherit later changes of this process's variables. A
    process that waits for the other one fails after two minutes.
    """
    multiprocessing.set_forkserver_preload(PRELOADED)
    mp.start_processes(_run_as_one_of_two, (work, folder, arguments), nprocs=2, start_method="forkserver")


def _run_as_one_of_two(rank, work, folder, arguments):
    timeout = datetime.timedelta(minutes=2)
    init = (folder / "init").as_uri()
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=2, timeout=timeout)
    work(rank, folder, *arguments)
    dist.barrier()  # neither process leaves while the other one still needs it
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads may outlive the group, and would abort an interpreter that shuts down
