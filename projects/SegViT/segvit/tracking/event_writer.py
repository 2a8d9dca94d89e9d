"""`TrackingWriter`: Detectron2's event storage, losses and metrics by iteration, to a `Tracker`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage

from segvit.config.first_config import run_name
from segvit.config.model_keys import MODEL_KEYS
from segvit.config.training_keys import TRAINING_KEYS
from segvit.config.unread_keys import READ, flat
from segvit.errors import UserError
from segvit.output_files import atomic_write_text
from segvit.tracking.trackers import TRACKERS, Tracker, require_package

logger = logging.getLogger(__name__)

OWN_KEYS = {key.name for key in (*MODEL_KEYS, *TRAINING_KEYS)}
# In OUTPUT_DIR: which tracked run a resumed run continues.
RECORD = "tracking.json"
# Losses are medians over as many iterations, as in metrics.json.
WINDOW = 20


class TrackingWriter(EventWriter):
    """Send what the event storage holds anew; register it in the main process only.

    An error of the tracker, such as a lost connection, ends the tracking with a warning and not the training.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker: Tracker | None = tracker
        self._last_write = -1

    def write(self) -> None:
        rows: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(WINDOW).items():
            if iteration > self._last_write:
                rows.setdefault(iteration, {})[name] = value
        self._last_write = max([self._last_write, *rows])
        for iteration in sorted(rows):
            self._use("log", rows[iteration], iteration)

    def close(self) -> None:
        self._use("finish")

    def _use(self, method: str, *arguments: Any) -> None:
        if self._tracker is None:
            return
        try:
            getattr(self._tracker, method)(*arguments)
        except Exception as error:  # each package has errors of its own
            logger.warning("Tracking ends, and the training goes on: %s: %s", type(error).__name__, error)
            self._tracker = None


def require_tracker(cfg: CfgNode) -> None:
    """Raise UserError if the package of TRACKING.TO is not installed."""
    if cfg.TRACKING.TO:
        require_package(cfg.TRACKING.TO)


def tracking_writers(cfg: CfgNode) -> list[EventWriter]:
    """The writer of TRACKING.TO, with a run that has started; none if the key is empty.

    Raises:
        UserError: the package is not installed, or the run cannot be started.
    """
    to, folder = cfg.TRACKING.TO, Path(cfg.OUTPUT_DIR)
    if not to:
        return []
    require_package(to)
    config = {key: value for key, value in flat(cfg).items() if key in READ or key in OWN_KEYS}
    record = tracked_run(folder)
    try:
        tracker = TRACKERS[to](
            project=cfg.TRACKING.PROJECT,
            name=cfg.TRACKING.NAME or run_name(folder),
            run_id=record["run"] if record.get("to") == to else "",
            config=config,
            folder=str(folder),
        )
    except Exception as error:  # each package has errors of its own
        raise UserError(
            f"TRACKING.TO {to!r}: the tracked run cannot start: {error}. Log in, set up a local or offline store "
            "(docs/training.md), or leave the key empty"
        ) from error
    atomic_write_text(folder / RECORD, json.dumps({"to": to, "run": tracker.run_id}) + "\n")
    return [TrackingWriter(tracker)]


def tracked_run(folder: Path) -> dict[str, str]:
    """Which run was tracked in a folder; {} for none. Raises UserError if its file is damaged."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"to": str(record["to"]), "run": str(record["run"])}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged: delete it, and a new run is tracked") from error
