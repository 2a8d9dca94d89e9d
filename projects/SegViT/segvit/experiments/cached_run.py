"""Training runs that are compared: each in a folder of its own, where a finished one is read and not run again."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from segvit.analysis import count_macs, count_params
from segvit.analysis.from_config import build_random_model
from segvit.config.loading import load_config
from segvit.engine.auto_scale import scale_to_processes
from segvit.engine.trainer import Trainer
from segvit.errors import UserError
from segvit.output_files import atomic_write_text
from segvit.visualization.curves import read_metrics

Overrides = dict[str, object]
# What may differ between two calls that continue each other.
PLACE = re.compile(r"^OUTPUT_DIR: .*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one run reached. Parameters and MACs (of one image) are those of the whole model.

    Attributes:
        seconds_per_iteration: the median of those in the log; None where the run is too short to have any.
        minutes: of the whole run with its evaluations.
        iterations, miou: one of each per evaluation.
    """

    params: int
    macs: int
    miou_final: float
    miou_best: float
    seconds_per_iteration: float | None
    minutes: float
    iterations: list[int]
    miou: list[float]


def config_to_compare(path: str | Path, opts: Sequence[object] = ()) -> CfgNode:
    """A config for one test set, without a checkpoint and with a seed: runs of it start alike and see the same crops.

    Raises:
        UserError: where it cannot be read or has no test set.
    """
    cfg = load_config(path, opts)
    if not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty: nothing to compare by")
    return merge(
        scale_to_processes(cfg, comm.get_world_size()),
        {"DATASETS.TEST": cfg.DATASETS.TEST[:1], "MODEL.WEIGHTS": "", "SEED": max(cfg.SEED, 0)},
    )


def run_or_load(cfg: CfgNode, folder: Path, hooks: Callable[[], list[HookBase]] = list) -> RunResult:
    """Train and evaluate, or read what an earlier call with the same config found.

    Args:
        cfg: the config, for one test set; left unchanged.
        folder: of this run alone: checkpoints, metrics and the result. A run that was cut off continues from its last
            checkpoint.
        hooks: makes further hooks for the trainer.

    Raises:
        UserError: where the folder holds a run of another config.
    """
    cfg = merge(cfg, {"OUTPUT_DIR": str(folder)})
    lock_config(cfg, folder)
    result_file = folder / "result.json"
    if result_file.is_file():
        return RunResult(**json.loads(result_file.read_text(encoding="utf-8")))
    minutes = train(cfg, hooks())
    iterations, scores = read_metrics(folder, "sem_seg/mIoU")
    # A run that was cut off behind its end is evaluated once more.
    miou = {min(iteration + 1, cfg.SOLVER.MAX_ITER): score for iteration, score in zip(iterations, scores, strict=True)}
    _, seconds = read_metrics(folder, "time")
    model = build_random_model(cfg, device="meta")
    result = RunResult(
        params=count_params(model.network)["total"],
        macs=count_macs(model.network, model.backbone.img_size)["total"],
        miou_final=scores[-1],
        miou_best=max(scores),
        seconds_per_iteration=statistics.median(seconds) if seconds else None,
        minutes=minutes,
        iterations=list(miou),
        miou=list(miou.values()),
    )
    atomic_write_text(result_file, json.dumps(asdict(result), indent=2))
    return result


def lock_config(cfg: CfgNode, folder: Path) -> None:
    """Write the config into the folder. Raises UserError where that of another run is there already."""
    folder.mkdir(parents=True, exist_ok=True)
    config_file = folder / "config.yaml"
    if config_file.is_file():
        found = config_file.read_text(encoding="utf-8")
        if PLACE.sub("", found) != PLACE.sub("", cfg.dump()):
            raise UserError(f"{config_file} belongs to a run with another config: choose another --output")
    atomic_write_text(config_file, cfg.dump())


def train(cfg: CfgNode, hooks: list[HookBase]) -> float:
    """Train and evaluate -> minutes; of a run that was continued, those that the whole would have taken."""
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.register_hooks(hooks)
    trainer.resume_or_load(resume=True)
    start, done = time.perf_counter(), trainer.start_iter
    trainer.train()
    share = 1 - done / cfg.SOLVER.MAX_ITER
    return (time.perf_counter() - start) / 60 / (share or 1)


def merge(cfg: CfgNode, overrides: Overrides) -> CfgNode:
    """A copy of the config with some values replaced."""
    cfg = cfg.clone()
    cfg.merge_from_list([item for pair in overrides.items() for item in pair])
    return cfg
