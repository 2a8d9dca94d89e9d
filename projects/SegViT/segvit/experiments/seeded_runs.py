"""`run_seeds`: several configs are trained with several seeds each; `SeededRuns` collects the runs of one config."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import HookBase

from segvit.errors import UserError, listed
from segvit.experiments.cached_run import RunResult, merge, run_or_load
from segvit.experiments.run_series import run_series


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds; the deviation is None for a single seed."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Compute it from one value per seed, at least one."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.deviation is None else f"{self.mean:.1f} ± {self.deviation:.1f}"


@dataclass(frozen=True)
class SeededRuns:
    """The runs of one config.

    Attributes:
        name: the config's name.
        runs: seed -> result, at least one.
    """

    name: str
    runs: Mapping[int, RunResult]

    @property
    def miou_final(self) -> Spread:
        """mIoU of the last evaluation, in percent."""
        return Spread.of([run.miou_final for run in self.runs.values()])

    @property
    def miou_best(self) -> Spread:
        """mIoU of each run's best evaluation, in percent."""
        return Spread.of([run.miou_best for run in self.runs.values()])

    @property
    def boundary_iou(self) -> Spread | None:
        """Boundary IoU of the last evaluation, in percent; None if TEST.BOUNDARY_IOU is off."""
        values = [run.boundary_iou for run in self.runs.values() if run.boundary_iou is not None]
        return Spread.of(values) if values else None

    @property
    def minutes(self) -> float:
        """Minutes of a run with its evaluations, the mean over seeds."""
        return statistics.fmean(run.minutes for run in self.runs.values())

    @property
    def cpu_minutes(self) -> float | None:
        """Minutes of CPU time, the mean over seeds; None if a run is of an older version."""
        values = [run.cpu_minutes for run in self.runs.values()]
        return statistics.fmean(value for value in values if value is not None) if all(values) else None

    @property
    def params(self) -> int:
        """Parameters of the whole model."""
        return next(iter(self.runs.values())).params

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return next(iter(self.runs.values())).macs

    @property
    def seconds_per_iteration(self) -> float | None:
        """The median over seeds; None if all runs were too short to log one."""
        seconds = [run.seconds_per_iteration for run in self.runs.values() if run.seconds_per_iteration is not None]
        return statistics.median(seconds) if seconds else None

    def as_dict(self) -> dict[str, object]:
        """The values over all seeds and of each run, for JSON."""
        return {
            "name": self.name,
            "miou_final": asdict(self.miou_final),
            "miou_best": asdict(self.miou_best),
            "boundary_iou": asdict(self.boundary_iou) if self.boundary_iou else None,
            "minutes": self.minutes,
            "cpu_minutes": self.cpu_minutes,
            "params": self.params,
            "macs": self.macs,
            "seconds_per_iteration": self.seconds_per_iteration,
            "runs": {seed: asdict(run) for seed, run in self.runs.items()},
        }


def run_seeds(
    configs: Mapping[str, CfgNode],
    seeds: Sequence[int],
    output: Path,
    *,
    announce: Callable[[str], None],
    hooks: Callable[[], list[HookBase]] = list,
) -> tuple[list[SeededRuns], dict[str, str]]:
    """Train every config with every seed, or load the results of an earlier call (see `run_or_load`).

    Args:
        configs: name -> config.
        seeds: at least one.
        output: its folders "<name>/seed<N>" hold the runs.
        announce, hooks: see `run_series` and `run_or_load`.

    Returns:
        The successful runs of each config, in the order of the configs, and the error messages of the failed ones.
    """
    runs = {f"{name}, seed {seed}": (name, seed) for name in configs for seed in seeds}
    results, failures = run_series(
        {
            title: partial(
                run_or_load, merge(configs[name], {"SEED": seed}), output / name / f"seed{seed}", hooks=hooks
            )
            for title, (name, seed) in runs.items()
        },
        announce=announce,
    )
    by_name: dict[str, dict[int, RunResult]] = {}
    for title, result in results.items():
        name, seed = runs[title]
        by_name.setdefault(name, {})[seed] = result
    return [SeededRuns(name, of_name) for name, of_name in by_name.items()], failures


def parse_seeds(words: Sequence[str], cfg: CfgNode, opts: Sequence[object] = ()) -> list[int]:
    """The given seeds, or the config's seed, which the overrides may set.

    Raises:
        UserError: a word is no seed or is named twice, or seeds are given and the overrides set one, too.
    """
    if words and "SEED" in opts[::2]:
        raise UserError(f"--seeds {' '.join(words)} and SEED: leave one out")
    wrong = [word for word in words if not word.isdecimal()]
    if wrong:
        raise UserError(f"--seeds {' '.join(wrong)}: seeds are whole numbers from 0")
    seeds = [*map(int, words)]
    repeated = [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]
    if repeated:
        raise UserError(f"--seeds: {listed(repeated)} is named twice, and one seed gives one run")
    return seeds or [cfg.SEED]
