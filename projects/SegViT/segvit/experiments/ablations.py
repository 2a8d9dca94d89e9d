"""Ablations: configs that differ in one choice, trained under one budget, each once per seed."""

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
    """A figure over seeds: its mean, and its sample standard deviation, None for a single seed."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value per seed, at least one."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.deviation is None else f"{self.mean:.1f} ± {self.deviation:.1f}"


@dataclass(frozen=True)
class AblationResult:
    """What one ablation reached.

    Attributes:
        name: of its config.
        runs: seed -> result.
    """

    name: str
    runs: Mapping[int, RunResult]

    @property
    def miou_final(self) -> Spread:
        """Of the last evaluation, in percent."""
        return Spread.of([run.miou_final for run in self.runs.values()])

    @property
    def miou_best(self) -> Spread:
        """Of each run's best evaluation, in percent."""
        return Spread.of([run.miou_best for run in self.runs.values()])

    @property
    def params(self) -> int:
        """Of the whole model."""
        return next(iter(self.runs.values())).params

    @property
    def macs(self) -> int:
        """Of one image."""
        return next(iter(self.runs.values())).macs

    @property
    def seconds_per_iteration(self) -> float | None:
        """The median over seeds; None where no run was long enough to have any."""
        seconds = [run.seconds_per_iteration for run in self.runs.values() if run.seconds_per_iteration is not None]
        return statistics.median(seconds) if seconds else None

    def as_dict(self) -> dict[str, object]:
        """For JSON: the figures of all seeds, and each run's."""
        return {
            "name": self.name,
            "miou_final": asdict(self.miou_final),
            "miou_best": asdict(self.miou_best),
            "params": self.params,
            "macs": self.macs,
            "seconds_per_iteration": self.seconds_per_iteration,
            "runs": {seed: asdict(run) for seed, run in self.runs.items()},
        }


def ablation_config(config_file: Path, *, on: Path | None = None, opts: Sequence[object] = ()) -> CfgNode:
    """The config of an ablation, to be trained and compared.

    Args:
        config_file: of the ablation.
        on: a YAML file whose keys are laid over it, such as those of another data set.
        opts: `KEY VALUE` overrides, laid over both.

    Raises:
        ValueError: where a file or an override is wrong, or there is no test set.
    """
    layers = config_layers(on) if on else []
    over = [item for _, layer in layers for pair in layer.items() for item in pair]
    return config_to_compare(config_file, [*over, *opts])


def with_seed(cfg: CfgNode, seed: int) -> CfgNode:
    """A copy of the config with that seed."""
    return merge(cfg, {"SEED": seed})
