"""`run_or_load`: train and evaluate one config in its own folder, or load the result of an earlier call."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from segvit.analysis import count_macs, count_params
from segvit.analysis.from_config import build_random_model
from segvit.config.first_config import require_no_first_config
from segvit.config.loading import load_config
from segvit.config.overrides import Layer, words_of
from segvit.engine.auto_scale import scale_to_processes
from segvit.engine.hooks.stopwatch import Stopwatch
from segvit.engine.run_folder import locked
from segvit.engine.trainer import Trainer
from segvit.errors import UserError
from segvit.output_files import atomic_write_text
from segvit.visualization.curves import read_metrics

T = TypeVar("T")

# The result of a run, in its folder.
RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of one run.

    Attributes:
        params: parameters of the whole model.
        macs: multiply-accumulate operations of the whole model for one image.
        miou_final, miou_best: of the last and of the best evaluation, in percent.
        seconds_per_iteration: the median over the log's lines; None if the run is too short to have logged one.
        minutes: of the whole run, with its evaluations; see `Stopwatch`.
        iterations, miou: one of each per evaluation.
        boundary_iou: of the last evaluation, in percent; None without TEST.BOUNDARY_IOU, or of an older version.
        boundary_ious: of each evaluation; empty where `boundary_iou` is None.
        cpu_minutes: the CPU time of this process in the run, in minutes; None in a result of an older version. On a
            shared machine it says more than `minutes`.
    """

    params: int
    macs: int
    miou_final: float
    miou_best: float
    seconds_per_iteration: float | None
    minutes: float
    iterations: list[int]
    miou: list[float]
    boundary_iou: float | None = None
    boundary_ious: list[float] = field(default_factory=list)
    cpu_minutes: float | None = None


def config_to_compare(path: str | Path, opts: Sequence[object] = (), *, shared: bool = False) -> CfgNode:
    """Load a config for a fair comparison: one test set, no checkpoint, and a seed that fixes initialization and crops.

    Args:
        path, opts, shared: see `load_config`.

    Raises:
        UserError: if the config cannot be read or has no test set.
    """
    cfg = load_config(path, opts, shared=shared)
    if cfg.MODEL.WEIGHTS:
        raise UserError(f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS!r} would have no effect: runs that are compared start anew")
    require_no_first_config(cfg, remedy='runs that are compared start anew: set it to ""')
    if not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty: runs are compared by their evaluation")
    return merge(
        scale_to_processes(cfg, comm.get_world_size()),
        {"DATASETS.TEST": cfg.DATASETS.TEST[:1], "MODEL.WEIGHTS": "", "SEED": max(cfg.SEED, 0)},
    )


def run_or_load(cfg: CfgNode, folder: Path, hooks: Callable[[], list[HookBase]] = list) -> RunResult:
    """Train and evaluate, or load the result of an earlier call with the same config.

    Args:
        cfg: a config with one test set; not changed.
        folder: the run's own folder, for checkpoints, metrics and the result. An interrupted run continues from its
            last checkpoint.
        hooks: returns additional hooks for the trainer.

    Raises:
        UserError: if the folder belongs to a run with another config.
    """
    with locked(folder):
        return _run_or_load(merge(cfg, {"OUTPUT_DIR": str(folder)}), folder, hooks)


def _run_or_load(cfg: CfgNode, folder: Path, hooks: Callable[[], list[HookBase]]) -> RunResult:
    lock_config(cfg, folder)
    result_file = folder / RESULT
    if result_file.is_file():
        return read_record(result_file, RunResult)
    stopwatch = train(cfg, hooks())
    minutes, cpu_minutes = stopwatch.seconds / 60, stopwatch.cpu_seconds / 60
    miou = evaluations(cfg, folder, "sem_seg/mIoU")
    scores = list(miou.values())
    boundary_scores = list(evaluations(cfg, folder, "sem_seg/mBoundaryIoU").values())
    _, seconds = read_metrics(folder, "time")
    model = build_random_model(cfg, device="meta")
    height, width = cfg.MODEL.VIT.IMG_SIZE
    result = RunResult(
        params=count_params(model.network)["total"],
        macs=count_macs(model.network, (height, width))["total"],
        miou_final=scores[-1],
        miou_best=max(scores),
        seconds_per_iteration=statistics.median(seconds) if seconds else None,
        minutes=minutes,
        iterations=list(miou),
        miou=scores,
        boundary_iou=boundary_scores[-1] if boundary_scores else None,
        boundary_ious=boundary_scores,
        cpu_minutes=cpu_minutes,
    )
    atomic_write_text(result_file, json.dumps(asdict(result), indent=2))
    return result


def read_record(file: Path, kind: Callable[..., T]) -> T:
    """What an earlier call wrote as JSON, as a `kind`. Raises UserError, with the remedy, if the file is damaged."""
    try:
        return kind(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{file} is damaged: delete it, and the command evaluates the run again") from error


def evaluations(cfg: CfgNode, folder: Path, name: str) -> dict[int, float]:
    """Iteration -> value of a metric of evaluations.

    A run that was interrupted after its last iteration evaluates that iteration again: the later score is kept.
    """
    iterations, scores = read_metrics(folder, name)
    return {min(iteration + 1, cfg.SOLVER.MAX_ITER): score for iteration, score in zip(iterations, scores, strict=True)}


def lock_config(
    cfg: CfgNode,
    folder: Path,
    *,
    remedy: str = "choose another --output",
    ignored: Sequence[str] = ("OUTPUT_DIR",),
) -> None:
    """Write the config into the folder, unless it is there.

    Raises UserError, which ends in `remedy`, if the folder has that of another run, in other keys than those `ignored`
    (their last parts).
    """
    folder.mkdir(parents=True, exist_ok=True)
    config_file = folder / "config.yaml"
    if config_file.is_file():
        earlier = yaml.safe_load(config_file.read_text(encoding="utf-8"))
        if _without(earlier, ignored) != _without(yaml.safe_load(cfg.dump()), ignored):
            raise UserError(f"{config_file} belongs to a run with another config: {remedy}")
        return
    atomic_write_text(config_file, cfg.dump())


def _without(node: Any, keys: Sequence[str]) -> Any:
    """Nested dicts without the entries of these keys."""
    if not isinstance(node, dict):
        return node
    return {key: _without(value, keys) for key, value in node.items() if key not in keys}


def train(cfg: CfgNode, hooks: list[HookBase]) -> Stopwatch:
    """Train and evaluate, or continue an interrupted run; returns the time that it took in all."""
    seed_all_rng(cfg.SEED)
    trainer, stopwatch = Trainer(cfg), Stopwatch()
    trainer.register_hooks([stopwatch, *hooks])
    trainer.resume_or_load(resume=True)
    trainer.train()
    return stopwatch


def merge(cfg: CfgNode, overrides: Layer) -> CfgNode:
    """A copy of the config with some values replaced."""
    cfg = cfg.clone()
    cfg.merge_from_list(words_of(overrides))
    return cfg
