"""`find_compared_model`: a model by its name: a run, a model folder, an exported file, or a config without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from detectron2.config import CfgNode

from segvit.analysis.from_config import build_random_model
from segvit.command_line.model_arguments import find_model_or_config
from segvit.config.continual_step import continual_step
from segvit.config.loading import MODEL_CONFIG, load_config
from segvit.datasets.dataset_classes import class_list_of
from segvit.engine.run_model import metrics_at
from segvit.errors import UserError
from segvit.exported.files import is_exported
from segvit.inference.loaded_model import LoadedModel, load_checkpoint, load_exported
from segvit.inference.predict_sample import first_test_set
from segvit.model_folder.files import is_model_folder
from segvit.model_folder.plain_config import portable_keys

# Keys in which runs of one recipe may differ: what they record, and how often.
OF_ONE_RUN = (
    *("SEED", "VERSION", "CUDNN_BENCHMARK", "MODEL.COMPILE", "MODEL.COMPILE_MODE", "SOLVER.CHECKPOINT_PERIOD"),
    *("TEST.EVAL_PERIOD", "TEST.BOUNDARY_IOU", "TEST.SAVE_PREDICTIONS", "TEST.LABELS_ONLY", "TEST.EXPECTED_RESULTS"),
)


class _Origin(TypedDict):
    test_set: str
    data_folder: str
    recipe: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ComparedModel:
    """A model to measure.

    Attributes:
        load: loads it onto the CPU; one that is not trained gets random weights and, where the number of tokens would
            depend on the image, the share of the config (see `build_random_model`).
        test_set: the first of DATASETS.TEST; empty for an exported file, which names none.
        data_folder: DATASETS.FOLDER, whose images a test set of that folder has.
        recipe: {key: value} of model and training; empty for an exported file.
        untrained: why there are no trained weights; empty if there are.
        recorded_miou: of the last evaluation of the run, in percent; None if the model must be evaluated.
    """

    load: Callable[[], LoadedModel]
    test_set: str = ""
    data_folder: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    untrained: str = ""
    recorded_miou: float | None = None


def find_compared_model(name: str, opts: Sequence[str] = ()) -> ComparedModel:
    """The model of a name.

    Args:
        name: the OUTPUT_DIR of a run, whose last checkpoint is meant; a model folder; an .onnx or OpenVINO .xml file of
            export_model.py; or the name of a config, for times and operations alone.
        opts: KEY VALUE pairs that override its config.

    Raises:
        UserError: there is no such model, an override does not fit, or the run is a continual one.
    """
    if is_exported(name):
        if not Path(name).is_file():
            raise UserError(f"{name}: no such file")
        return ComparedModel(load=partial(load_exported, name, opts))
    folder = Path(name)
    is_run = (folder / MODEL_CONFIG).is_file() and not is_model_folder(folder)
    cfg = load_config(folder / MODEL_CONFIG if is_run else find_model_or_config(name), opts, trains=False)
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    cfg.TEST.LABELS_ONLY = True
    if continual_step(cfg) is not None:
        raise UserError(f"{name}: a continual step has metrics of its own; train_continual.py reports them")
    if is_run:
        return _model_of_run(cfg, folder, overridden=bool(opts))
    if cfg.MODEL.WEIGHTS:
        return ComparedModel(load=partial(load_checkpoint, cfg, None), **_origin(cfg))
    return _untrained(cfg, f"{name} is a config without trained weights")


def _model_of_run(cfg: CfgNode, folder: Path, *, overridden: bool) -> ComparedModel:
    """The last checkpoint of a run; its mIoU is that of the run's log, unless overrides change the model."""
    checkpoint = folder / "model_final.pth"
    if not checkpoint.is_file():
        return _untrained(cfg, f"{folder} has not finished: it has no {checkpoint.name}")
    recorded = None if overridden else metrics_at(cfg.SOLVER.MAX_ITER - 1, folder, cfg).get("mIoU")
    return ComparedModel(load=partial(load_checkpoint, cfg, checkpoint), recorded_miou=recorded, **_origin(cfg))


def _untrained(cfg: CfgNode, reason: str) -> ComparedModel:
    def load() -> LoadedModel:
        return LoadedModel(cfg, build_random_model(cfg), class_list_of(cfg))

    vit = cfg.MODEL.VIT
    node = {"shrunk++": vit.EDGE, "cells": vit.EDGE, "merge": vit.MERGE}.get(vit.REDUCTION)
    if node is not None and node.SELECTION == "threshold":
        reason = f"{reason}, and is timed at a share of {node.SHARE} of its tokens in place of a threshold"
    return ComparedModel(load=load, untrained=reason, **_origin(cfg))


def _origin(cfg: CfgNode) -> _Origin:
    """Test set and recipe of a config's model; runs of one recipe may name the encoder's weights in different ways."""
    recipe = {
        key: value
        for key, value in portable_keys(cfg).items()
        if key not in OF_ONE_RUN and not key.startswith("MODEL.VIT.PRETRAINED")
    }
    return {"test_set": first_test_set(cfg), "data_folder": cfg.DATASETS.FOLDER, "recipe": recipe}
