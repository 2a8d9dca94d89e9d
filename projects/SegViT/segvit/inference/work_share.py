"""`WorkShare`: the part of a command's files that one of several processes takes, under torchrun and Slurm.

Nothing is exchanged between the processes: each lists all files and takes those whose names fall to it.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch.distributed import rendezvous

from segvit.errors import UserError

# How long a process waits for the others of its torchrun before it ends.
PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class WorkShare:
    """Part `index` of `count` equal parts.

    Attributes:
        index, count: 0 <= index < count.
        local_rank: counts the processes of one machine.
        source: the variables that say so, for messages; "" for a single process.
    """

    index: int = 0
    count: int = 1
    local_rank: int = 0
    source: str = ""

    def takes(self, name: str) -> bool:
        """Whether a file of this name is in the part: by a checksum, whatever the order in which files are listed."""
        return zlib.crc32(os.fsencode(name)) % self.count == self.index

    def device(self, name: str) -> str:
        """The device of this process: with several GPUs, "cuda" without a number becomes the process's own."""
        num_gpus = torch.cuda.device_count() if name == "cuda" else 0
        return f"cuda:{self.local_rank % num_gpus}" if num_gpus > 1 else name


def chosen_share(text: str) -> WorkShare:
    """The part of the files that --share gives: "all", INDEX/COUNT, or "auto", by the job's environment."""
    if text == "all":
        return WorkShare()
    return share_of_environment(os.environ) if text == "auto" else share_of_text(text)


def share_of_environment(variables: Mapping[str, str]) -> WorkShare:
    """The part of this process: of torchrun, or else of srun, within the task of a Slurm array.

    Raises:
        UserError: for variables that are not numbers.
    """
    outer, inner = _array_share(variables), _process_share(variables)
    sources = " and ".join(share.source for share in (outer, inner) if share.source)
    return WorkShare(outer.index * inner.count + inner.index, outer.count * inner.count, inner.local_rank, sources)


def share_of_text(text: str) -> WorkShare:
    """A part as "INDEX/COUNT", from 0/8 to 7/8. Raises UserError for any other text."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise UserError(f"--share {text!r} must be auto, all, or INDEX/COUNT from 0/8 to 7/8")
    return WorkShare(int(match[1]), int(match[2]), source="--share")


def wait_for_other_processes(variables: Mapping[str, str]) -> None:
    """Under torchrun, wait until all processes are done: it ends the others when one ends with an error."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= variables.keys():
        return
    store, _, count = next(rendezvous("env://", timeout=PATIENCE))
    if store.add("segvit/files_done", 1) == count:
        store.set("segvit/all_done", "")
    store.wait(["segvit/all_done"], PATIENCE)


def _array_share(variables: Mapping[str, str]) -> WorkShare:
    if "SLURM_ARRAY_TASK_ID" not in variables or "SLURM_ARRAY_TASK_COUNT" not in variables:
        return WorkShare()
    task, count = (_number(variables, name) for name in ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"))
    first = _number(variables, "SLURM_ARRAY_TASK_MIN", 0)
    # The ids of an array such as 1-99:2 have a step; Slurm gives it as the maximum and minimum over the count.
    last = _number(variables, "SLURM_ARRAY_TASK_MAX", first + count - 1)
    step = max((last - first) // max(count - 1, 1), 1)
    if (task - first) % step or (last - first) != step * (count - 1):
        raise UserError(
            f"the ids of this Slurm array are not evenly spaced ({count} from {first} to {last}): "
            "use an array such as 0-7, or give each task its --share INDEX/COUNT"
        )
    return WorkShare((task - first) // step, count, source="SLURM_ARRAY_TASK_ID")


def _process_share(variables: Mapping[str, str]) -> WorkShare:
    if "RANK" in variables and "WORLD_SIZE" in variables:
        rank, count = _number(variables, "RANK"), _number(variables, "WORLD_SIZE")
        return WorkShare(rank, count, _number(variables, "LOCAL_RANK", 0), "RANK" if count > 1 else "")
    # A batch script, too, has SLURM_PROCID and SLURM_NTASKS, but there is one process of it; srun sets the step's id.
    if "SLURM_PROCID" in variables and "SLURM_STEP_ID" in variables:
        count = _number(variables, "SLURM_STEP_NUM_TASKS", _number(variables, "SLURM_NTASKS", 1))
        rank, local_rank = _number(variables, "SLURM_PROCID"), _number(variables, "SLURM_LOCALID", 0)
        return WorkShare(rank, count, local_rank, "SLURM_PROCID" if count > 1 else "")
    return WorkShare()


def _number(variables: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = variables.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise UserError(f"the environment variable {name} is {text!r}, not a number")
    return int(text)
