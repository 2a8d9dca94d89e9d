"""Ablations: `AblationResult` collects the runs of one config over several seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from detectron2.config import CfgNode

from segvit.config.loading import config_layers
from segvit.experiments.cached_run import RunResult, config_to_compare, merge


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
class AblationResult:
    """The runs of one ablation.

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
            "params": self.params,
            "macs": self.macs,
            "seconds_per_iteration": self.seconds_per_iteration,
            "runs": {seed: asdict(run) for seed, run in self.runs.items()},
        }


def ablation_config(config_file: Path, *, on: Path | None = None, opts: Sequence[object] = ()) -> CfgNode:
    """Load the config of an ablation.

    Args:
        config_file: the ablation's YAML file.
        on: a YAML file whose keys override it, such as those of another dataset.
        opts: `KEY VALUE` overrides, which override both files.

    Raises:
        UserError: if a file or an override is wrong, or there is no test set.
    """
    layers = config_layers(on) if on else []
    overrides = [item for _, layer in layers for pair in layer.items() for item in pair]
    return config_to_compare(config_file, [*overrides, *opts], shared=True)


def with_seed(cfg: CfgNode, seed: int) -> CfgNode:
    """A copy of the config with another seed."""
    return merge(cfg, {"SEED": seed})
