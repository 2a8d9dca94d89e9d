"""Processes that start in milliseconds, because they are forked from one that has imported PyTorch and SegViT.

`run_in_two_processes` calls a function in two processes that communicate by gloo, as two GPUs would by NCCL.
`run_program` runs a script.
"""

import datetime
import functools
import gc
import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin import register_all_ade20k

# A fork server imports these once, and each process then starts in milliseconds, where a spawned one takes seconds.
PRELOADED = ["segvit.engine", "segvit.engine.launching", "segvit.inference", "segvit.dataset_tools.toy_scenes"]
# Far above what is measured: a program that hangs fails the test, and a slow machine does not.
TIMEOUT_SECONDS = 300


def fork_server():
    """The multiprocessing context whose processes are forked from a server with the imports of PRELOADED."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    return multiprocessing.get_context("forkserver")


def run_in_two_processes(work, folder, *arguments):
    """Call `work(rank, folder, *arguments)` in both processes; an error in either is raised here.

    Set environment variables in `work`: the processes do not inherit later changes of this process's variables. A
    process that waits for the other one fails after two minutes.
    """
    fork_server()
    mp.start_processes(_run_as_one_of_two, (work, folder, arguments), nprocs=2, start_method="forkserver")


def _run_as_one_of_two(rank, work, folder, arguments):
    timeout = datetime.timedelta(minutes=2)
    init = (folder / "init").as_uri()
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=2, timeout=timeout)
    work(rank, folder, *arguments)
    dist.barrier()  # neither process leaves while the other one still needs it
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads may outlive the group, and would abort an interpreter that shuts down


class Program:
    """A script that runs as `python script *arguments` would, on the CPU with one thread; a module after "-m".

    Processes that it would spawn are forked, too: what starts true programs is tests/engine/test_launching.py.
    """

    def __init__(self, script, *arguments, environment=None, working_directory=None):
        self._folder = tempfile.TemporaryDirectory()
        # Files, not pipes, so that the script never waits for a reader.
        self._files = [Path(self._folder.name, name) for name in ("stdout.txt", "stderr.txt")]
        for file in self._files:
            file.touch()
        words = [str(script), *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **(environment or {})}
        folder = working_directory or os.getcwd()
        self._process = fork_server().Process(target=_write_files, args=(words, environment, self._files, folder))
        self._process.start()

    def wait(self, timeout=TIMEOUT_SECONDS):
        """Wait for its end; after `timeout` seconds, kill it."""
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return self

    def terminate(self):
        self._process.terminate()

    @property
    def returncode(self):
        """None while it runs, and -N if signal N has ended it."""
        return self._process.exitcode

    @property
    def stdout(self):
        return self._files[0].read_text()

    @property
    def stderr(self):
        return self._files[1].read_text()


def run_program(script, *arguments, timeout=TIMEOUT_SECONDS, **options):
    """Run a script to its end; see `Program`."""
    return Program(script, *arguments, **options).wait(timeout)


def _write_files(words, environment, files, working_directory):
    run_script(words, environment, [os.open(file, os.O_WRONLY) for file in files], working_directory)


def run_script(words, environment, files, working_directory):
    """Run it in this process, which is forked for it, with the descriptors of two open files for its output."""
    gc.freeze()  # the collector would touch, and so copy, the memory that the server's processes share
    for stream, file in zip((sys.stdout, sys.stderr), files):
        stream.flush()
        os.dup2(file, stream.fileno())
    os.chdir(working_directory)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    _register_ade20k(environment.get("DETECTRON2_DATASETS", "datasets"))
    _fork_in_place_of_spawn()
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")


def _fork_in_place_of_spawn():
    """A spawned process would import PyTorch again, which takes seconds.

    After several threads have computed, a process pool spawns nevertheless: OpenMP hangs in a fork of such a process.
    """
    get_context = multiprocessing.get_context

    def get_context_that_forks(method=None):
        return get_context("fork" if method == "spawn" and torch.get_num_threads() == 1 else method)

    multiprocessing.get_context = get_context_that_forks
    mp.start_processes = functools.partial(mp.start_processes, start_method="fork")


def _register_ade20k(root):
    """Register it under `root`: Detectron2 did so when the fork server imported it, with the server's environment."""
    for name in ("ade20k_sem_seg_train", "ade20k_sem_seg_val"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    register_all_ade20k(root)
