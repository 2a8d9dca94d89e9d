"""Run a function in two processes that talk by gloo, as two GPUs would by NCCL."""

import datetime
import os

import torch.distributed as dist
import torch.multiprocessing as mp


def run_in_two_processes(work, folder, *arguments):
    """Call `work(rank, folder, *arguments)` in both; an error in either is raised here.

    A process that waits in vain for the other fails after two minutes.
    """
    mp.spawn(_run_as_one_of_two, (work, folder, arguments), nprocs=2)


def _run_as_one_of_two(rank, work, folder, arguments):
    timeout = datetime.timedelta(minutes=2)
    init = (folder / "init").as_uri()
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=2, timeout=timeout)
    work(rank, folder, *arguments)
    dist.barrier()  # neither leaves while the other still listens
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads may outlive their group, and abort an interpreter that shuts down around them
