"""Runs train_net.py on the null device and counts the steps: `training_runs.py WORLD ARGUMENTS...`.

With WORLD above 1 it is process 0 of so many, in a process group that does nothing: what DistributedDataParallel and
the trainer ask of NCCL is recorded. It prints JSON: counts of steps and collectives, and options of DDP.
"""

from __future__ import annotations

import contextlib
import json
import runpy
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore

import segvit
from null_gpu import Count, Values, line_of_python
from segvit.engine import launching, trainer
from segvit.engine.optimization_step import OptimizationStep

# DDP reads timers, which waits, in the first ten steps and then in every hundredth.
COUNTED = (12, 13)
COLLECTIVES = ("all_reduce", "broadcast", "all_gather_into_tensor", "all_gather", "reduce")

steps: list[dict[str, Any]] = []
collectives: Counter[str] = Counter()
ddp_options: dict[str, bool] = {}


def count_steps() -> None:
    """Count the steps of COUNTED, with the hooks after them."""
    run_step, after_step = OptimizationStep.run_step, trainer.Trainer.after_step

    def counted_step(self: OptimizationStep) -> None:
        with Count() as count:
            run_step(self)
        if self.iter in COUNTED:
            steps.append(count.as_dict())

    def counted_hooks(self: trainer.Trainer) -> None:
        with Count() as count:
            after_step(self)
        if self.iter in COUNTED:
            steps[-1]["waits"] += count.waits
            steps[-1]["wait_lines"].update(count.wait_lines)

    OptimizationStep.run_step, trainer.Trainer.after_step = counted_step, counted_hooks


def simulate_processes(world: int) -> None:
    """Make this process the first of `world`, with collectives that do nothing and are recorded."""
    torch.cuda.set_device(0)
    dist.init_process_group("fake", rank=0, world_size=world, store=FakeStore())
    dist.get_backend = lambda *_, **__: "nccl"
    comm._LOCAL_PROCESS_GROUP = dist.group.WORLD
    torch.nn.parallel.distributed._verify_param_shape_across_processes = lambda *_, **__: None

    def record(name: str, result: Any) -> Any:
        collectives[f"{name}, {line_of_python()}"] += 1
        return result

    def recorded(name: str) -> Any:
        function = getattr(dist, name)

        def collective(tensor: Any, *arguments: Any, **options: Any) -> Any:
            device = tensor.device.type if isinstance(tensor, torch.Tensor) else "list"
            return record(f"{name} on {device}", function(tensor, *arguments, **options))

        return collective

    for name in COLLECTIVES:
        setattr(dist, name, recorded(name))
    comm.gather = lambda data, *_, **__: record("gather of objects", [data] * world)
    comm.all_gather = lambda data, *_, **__: record("all_gather of objects", [data] * world)
    comm.synchronize = lambda: record("barrier", None)
    create = trainer.create_ddp_model

    def create_with_hook(*arguments: Any, **options: Any) -> DistributedDataParallel:
        model = create(*arguments, **options)
        model.register_comm_hook(None, averaged)
        ddp_options.update({name: getattr(model, name) for name in ("gradient_as_bucket_view", "static_graph")})
        return model

    trainer.create_ddp_model = create_with_hook
    launching.number_of_processes = lambda args: world
    launching.launch = lambda work, args: work(args)


def averaged(state, bucket):
    """The bucket as it is, recorded, in place of the average over all processes; DDP refuses annotations as text."""
    collectives[f"bucket on {bucket.buffer().device.type}"] += 1
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future(devices=[torch.device("cuda", 0)])
    done.set_result(bucket.buffer())
    return done


def main() -> None:
    world = int(sys.argv[1])
    script = Path(segvit.__file__).parents[1] / "train_net.py"
    sys.argv = [str(script), *sys.argv[2:]]
    count_steps()
    with contextlib.redirect_stdout(sys.stderr), Values(nonzero=4, integers=3):
        if world > 1:
            simulate_processes(world)
        runpy.run_path(str(script), run_name="__main__")
    sys.stdout.write(json.dumps({"steps": steps, "collectives": collectives, "ddp": ddp_options}))


if __name__ == "__main__":
    main()
