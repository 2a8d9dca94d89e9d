"""`compare_modes`: mIoU, milliseconds and multiply-accumulates of trained models on one test set.

A row is a recipe, perhaps with overrides such as a switch at inference; its models are runs with several seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from segvit.analysis import TimingSummary, mean_macs, summarize, time_rounds
from segvit.analysis.timing import clock_of
from segvit.assembly.meta_arch import SegViT
from segvit.assembly.model_types import ModelInput
from segvit.classes.class_list import ClassList
from segvit.datasets import require_datasets
from segvit.errors import UserError
from segvit.evaluation import SemSegConfusionEvaluator
from segvit.experiments.compared_models import ComparedModel, find_compared_model
from segvit.experiments.seeded_runs import Spread
from segvit.inference import SegViTPredictor
from segvit.inference.loaded_model import LoadedModel
from segvit.progress import progress_bar


@dataclass(frozen=True)
class ModeSpec:
    """A row to measure.

    Attributes:
        name: in table and plot.
        models: see `find_compared_model`; several are runs of one recipe with other seeds.
        opts: KEY VALUE pairs for each of them.
    """

    name: str
    models: Sequence[str]
    opts: Sequence[str] = ()


@dataclass(kw_only=True)
class ModeFigures:
    """What was measured of a row; a figure is None if there is none, and `missing` says why.

    Attributes:
        name: of the row.
        miou: in percent, of the finished models.
        runs: how many these are.
        timing: of an image, from the model's input to labels at the size of the file, by the first model.
        gmacs: 10^9 multiply-accumulates of an image, by the first model; the mean if they depend on the image.
        missing: what is missing -> why.
    """

    name: str
    miou: Spread | None = None
    runs: int = 0
    timing: TimingSummary | None = None
    gmacs: float | None = None
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """How rows are measured.

    Attributes:
        rounds: timed rounds; every row segments the same image in a round, and the next one in the next.
        num_images: how many images are timed, evenly spaced over the test set.
        cpu_time: measure the CPU time of the process in place of the wall clock.
    """

    rounds: int
    num_images: int
    cpu_time: bool


def compare_modes(specs: Sequence[ModeSpec], measurement: Measurement) -> tuple[str, list[ModeFigures]]:
    """Measure every row: accuracy, then time in interleaved rounds, then operations. Everything runs on the CPU.

    Returns:
        The test set, and the figures of each row in the order given.

    Raises:
        UserError: a model is unknown, the models of a row are not of one recipe, or the rows have no common test set.
        OSError: for missing or unreadable files.
    """
    for spec in specs:
        repeated = [name for name in spec.models if spec.models.count(name) > 1]
        if repeated:
            raise UserError(f"--row {spec.name}: {repeated[0]} is named twice, and would count as two runs")
    found = {spec.name: [find_compared_model(name, spec.opts) for name in spec.models] for spec in specs}
    for name, models in found.items():
        require_one_recipe(name, models)
    test_set = common_test_set([model for models in found.values() for model in models])
    require_datasets([test_set])
    records = DatasetCatalog.get(test_set)
    rows, loaded = [], {}
    for name, models in found.items():
        row, loaded[name] = measure_accuracy(name, models, test_set, records)
        rows.append(row)
    chosen = np.linspace(0, len(records) - 1, min(measurement.num_images, len(records))).round().astype(int)
    files = [records[index]["file_name"] for index in chosen]
    inputs = {name: [SegViTPredictor.of(one).prepare(file) for file in files] for name, one in loaded.items()}
    timings = time_models(loaded, inputs, measurement)
    for row in rows:
        row.timing = timings[row.name]
        count_operations(row, loaded[row.name], inputs[row.name])
    return test_set, rows


def common_test_set(models: Sequence[ComparedModel]) -> str:
    """The test set of the models that name one. Raises UserError if that is none, or several."""
    folders = list(dict.fromkeys(model.data_folder for model in models if model.data_folder))
    if len(folders) > 1:
        raise UserError(f"--row: all rows are measured on one test set, not on those of {' and '.join(folders)}")
    names = list(dict.fromkeys(model.test_set for model in models if model.test_set))
    if len(names) != 1:
        found = ", ".join(names) or "exported files name none: add a run or a config"
        raise UserError(f"--row: all rows are measured on one test set, the first of DATASETS.TEST, not on {found}")
    return names[0]


def require_one_recipe(name: str, models: Sequence[ComparedModel]) -> None:
    """Raise UserError if the models of a row differ in more than their weights: their mean would mean nothing."""
    first, *others = [model.recipe for model in models if model.recipe] or [{}]
    for other in others:
        different = next((key for key in {**first, **other} if first.get(key) != other.get(key)), None)
        if different is not None:
            raise UserError(
                f"--row {name}: a row takes runs of one recipe with other seeds, and {different} is "
                f"{first.get(different)!r} in the first and {other.get(different)!r} in another: give it a row of its "
                "own"
            )


def measure_accuracy(
    name: str, models: Sequence[ComparedModel], test_set: str, records: Sequence[Mapping[str, Any]]
) -> tuple[ModeFigures, LoadedModel]:
    """The mIoU of the trained models of a row, and the model to time: the first trained one, or the first."""
    trained = [model for model in models if not model.untrained]
    first = (trained or list(models))[0].load()
    row = ModeFigures(name=name, runs=len(trained))
    reasons = "; ".join(model.untrained for model in models if model.untrained)
    if reasons:
        row.missing["mIoU" if not trained else "some of the runs"] = reasons
    scores = []
    for index, model in enumerate(trained):
        score = model.recorded_miou
        if score is None:
            score = evaluate(first if index == 0 else model.load(), test_set, records, title=name)
        scores.append(score)
    row.miou = Spread.of(scores) if scores else None
    return row, first


def evaluate(loaded: LoadedModel, test_set: str, records: Sequence[Mapping[str, Any]], *, title: str) -> float:
    """The mIoU, in percent, of labels at the size of the true label maps."""
    evaluator = SemSegConfusionEvaluator(test_set, distributed=False)
    predictor = SegViTPredictor.of(loaded)
    require_classes_of(test_set, loaded.classes.names, title=title)
    with torch.inference_mode():
        for record in progress_bar(records, title=f"evaluating {title}", unit="image"):
            evaluator.process([record], loaded.model([predictor.prepare(record["file_name"])]))  # type: ignore[arg-type]
    results = evaluator.evaluate()
    assert results is not None, "the only process is the main one"
    return results["sem_seg"]["mIoU"]


def require_classes_of(test_set: str, names: Sequence[str], *, title: str) -> None:
    """Raise UserError unless a model has the classes of the test set, in its order; unnamed ones are counted alone."""
    expected = tuple(MetadataCatalog.get(test_set).stuff_classes)
    if len(names) != len(expected):
        raise UserError(f"--row {title}: the model has {len(names)} classes, and {test_set} has {len(expected)}")
    if tuple(names) in (expected, ClassList.numbered(len(names)).names):
        return
    index = next(index for index, (here, there) in enumerate(zip(names, expected)) if here != there)
    raise UserError(
        f"--row {title}: class {index} is {names[index]!r} in the model and {expected[index]!r} in {test_set}"
    )


def time_models(
    models: Mapping[str, LoadedModel], inputs: Mapping[str, Sequence[ModelInput]], measurement: Measurement
) -> dict[str, TimingSummary]:
    """Time per image of each model, in interleaved rounds; `inputs` are the images as each model takes them."""

    def segment(loaded: LoadedModel, images: cycle[ModelInput]) -> None:
        loaded.model([next(images)])

    calls: dict[str, Callable[[], object]] = {
        name: partial(segment, loaded, cycle(inputs[name])) for name, loaded in models.items()
    }
    clock = clock_of(cpu_time=measurement.cpu_time)
    with torch.inference_mode():
        return summarize(time_rounds(calls, rounds=measurement.rounds, warmup=2, progress=True, clock=clock))


def count_operations(row: ModeFigures, loaded: LoadedModel, images: Sequence[ModelInput]) -> None:
    """Set the row's multiply-accumulates, or why there are none."""
    if not isinstance(loaded.model, SegViT):
        row.missing["MACs"] = "an exported file is not counted"
    elif loaded.model.windows is not None:
        row.missing["MACs"] = "an image by windows is not counted"
    else:
        row.gmacs = mean_macs(loaded.model.network, [one["image"] for one in images]) / 1e9
