"""`Tracker`: one tracked run, in Weights & Biases, MLflow or Trackio. The packages are imported when a run starts."""

from __future__ import annotations

import importlib
import importlib.util
import re
import time
from collections.abc import Mapping
from typing import Any, Protocol
from uuid import uuid4

from segvit.errors import UserError

# Value of TRACKING.TO -> the package on the index, and the module.
PACKAGES = {"wandb": ("wandb", "wandb"), "mlflow": ("mlflow-skinny", "mlflow"), "trackio": ("trackio", "trackio")}
# MLflow takes as many parameters at once, of as many characters, and names of these characters.
MLFLOW_BATCH, MLFLOW_LENGTH, MLFLOW_OTHER = 100, 6000, re.compile(r"[^\w\-./ ]")

# Trackio keeps some names for itself.
TRACKIO_NAMES = {"time": "iteration_time"}


class Tracker(Protocol):
    """A run that is tracked.

    Attributes:
        run_id: finds the run again.
    """

    run_id: str

    def log(self, values: Mapping[str, float], iteration: int) -> None: ...

    def finish(self) -> None: ...


class WandbTracker:
    """A run of Weights & Biases, whose x axis is the iteration; local files are in `folder`/wandb.

    A resumed run may repeat iterations, which W&B's own steps do not allow.
    """

    def __init__(self, *, project: str, name: str, run_id: str, config: Mapping[str, Any], folder: str) -> None:
        import wandb

        self.run_id = run_id or uuid4().hex
        self._run = wandb.init(
            project=project,
            name=name,
            id=self.run_id,
            resume="allow",
            config=dict(config),
            dir=folder,
            settings=wandb.Settings(console="off"),  # the run has a log and a progress bar of its own
        )
        self._run.define_metric("*", step_metric="iteration")

    def log(self, values: Mapping[str, float], iteration: int) -> None:
        self._run.log({**values, "iteration": iteration})

    def finish(self) -> None:
        self._run.finish()


class MLflowTracker:
    """A run of an MLflow experiment, in the store that MLFLOW_TRACKING_URI names."""

    def __init__(self, *, project: str, name: str, run_id: str, config: Mapping[str, Any], folder: str) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._client, self._metric = MlflowClient(), Metric
        if run_id:
            self.run_id = run_id
            self._client.update_run(run_id, status="RUNNING")
            return
        experiment = self._client.get_experiment_by_name(project)
        number = experiment.experiment_id if experiment else self._client.create_experiment(project)
        self.run_id = self._client.create_run(number, run_name=name).info.run_id
        params = [Param(key, str(value)[:MLFLOW_LENGTH]) for key, value in config.items()]
        for first in range(0, len(params), MLFLOW_BATCH):
            self._client.log_batch(self.run_id, params=params[first : first + MLFLOW_BATCH])

    def log(self, values: Mapping[str, float], iteration: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self._metric(MLFLOW_OTHER.sub("_", name), value, now, iteration) for name, value in values.items()]
        self._client.log_batch(self.run_id, metrics=metrics)

    def finish(self) -> None:
        self._client.set_terminated(self.run_id)


class TrackioTracker:
    """A run of Trackio, in its local database. Runs are found by their names, so the name has a part of its own."""

    def __init__(self, *, project: str, name: str, run_id: str, config: Mapping[str, Any], folder: str) -> None:
        import trackio

        self.run_id = run_id or f"{name}-{uuid4().hex[:6]}"
        self._trackio = trackio
        trackio.init(project=project, name=self.run_id, config=dict(config), resume="allow")

    def log(self, values: Mapping[str, float], iteration: int) -> None:
        self._trackio.log({TRACKIO_NAMES.get(name, name): value for name, value in values.items()}, step=iteration)

    def finish(self) -> None:
        self._trackio.finish()


TRACKERS: Mapping[str, Any] = {"wandb": WandbTracker, "mlflow": MLflowTracker, "trackio": TrackioTracker}


def require_package(to: str) -> None:
    """Raise UserError, naming the package, if the module of a tracker is not installed."""
    package, module = PACKAGES[to]
    if importlib.util.find_spec(module) is None:
        raise UserError(
            f"TRACKING.TO {to!r} needs the package {package}: python -m pip install {package}, or the extra tracking"
        )
