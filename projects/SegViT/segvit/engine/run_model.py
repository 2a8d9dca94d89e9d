"""`write_run_model`: OUTPUT_DIR/model, the model folder of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path

from detectron2.config import CfgNode

from segvit.model_folder.files import MODEL_FOLDER
from segvit.model_folder.packing import pack_content
from segvit.modeling.weights.weight_files import read_weight_file
from segvit.visualization.curves import read_all_metrics

# Prefix of the names of metrics in OUTPUT_DIR/metrics.json.
METRICS = "sem_seg/"


def write_run_model(cfg: CfgNode) -> Path:
    """Write OUTPUT_DIR/model from model_best.pth or, if no evaluation has chosen one, from model_final.pth."""
    folder = Path(cfg.OUTPUT_DIR)
    checkpoint = folder / "model_best.pth"
    if not checkpoint.is_file():
        checkpoint = folder / "model_final.pth"
    content = read_weight_file(checkpoint)
    metrics = metrics_at(content.get("iteration"), folder, cfg)
    return pack_content(content, folder / MODEL_FOLDER, origin=checkpoint, cfg=cfg, metrics=metrics, command=sys.argv)


def metrics_at(iteration: int | None, folder: Path, cfg: CfgNode) -> dict[str, float]:
    """The metrics of a checkpoint on the first test set, from the log of the run; none if it was not evaluated."""
    log = folder / "metrics.json"
    if iteration is None or not log.is_file():
        return {}
    prefix = f"{cfg.DATASETS.TEST[0]}/{METRICS}" if len(cfg.DATASETS.TEST) > 1 else METRICS
    series = {name: dict(zip(*points)) for name, points in read_all_metrics(folder).items() if name.startswith(prefix)}
    # A run, also one that was extended later, logs its last evaluation under one iteration more, unless that is the
    # periodic one of the next checkpoint.
    period = cfg.TEST.EVAL_PERIOD
    is_next = period and (iteration + 2) % period == 0 and iteration + 1 != cfg.SOLVER.MAX_ITER
    done = iteration if is_next or any(iteration in values for values in series.values()) else iteration + 1
    return {name.removeprefix(prefix): values[done] for name, values in series.items() if done in values}
