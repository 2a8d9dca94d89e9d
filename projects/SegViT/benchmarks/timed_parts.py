"""The parts that benchmark_parts.py times: a function for each, from the command line's arguments to report lines."""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog, build_detection_train_loader, get_detection_dataset_dicts
from detectron2.data.samplers import TrainingSampler
from torch import Tensor

from baselines import build_loaded_model, build_segvit, input_images, override
from criterion_step import CriterionStep
from label_endings import LabelsOfScene
from measurements import peak_memory_mb
from segvit.analysis import summarize, time_rounds
from segvit.analysis.from_config import build_random_model
from segvit.classes.palette import distinct_colors
from segvit.data import SegViTSemanticDatasetMapper
from segvit.evaluation import SemSegConfusionEvaluator
from segvit.inference import SegViTPredictor, load_image
from segvit.label_png import write_label_png
from segvit.modeling.postprocessing.score_bands import argmax_classes
from segvit.progress import progress_bar
from training_step import TrainingStep, random_input

CPU = torch.device("cpu")
# The lines of a report: "name", "median_ms", "spread", "ratio", and figures of the part.
Rows = list[dict[str, Any]]
Calls = dict[str, Callable[[], object]]


def criterion(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """Time the losses and their gradients."""
    builders = {}
    for num_classes, num_present in class_counts(args, cfg):
        builders[f"{num_present} of {num_classes} classes"] = partial(
            CriterionStep,
            override(cfg, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", num_classes),
            batch_size=args.batch,
            image_size=args.image_size,
            num_present=num_present,
        )
    calls: Calls = {name: build() for name, build in builders.items()}
    if args.step:
        step = TrainingStep(cfg, batch_size=args.batch, image_size=args.image_size, num_present=args.present[0])
        calls["whole model"] = lambda: sum(step.model(step.inputs).values()).backward()
    return add_peaks(time_calls(calls, args.rounds), builders)


def labels(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """Time the step from the head's output to labels."""
    height, width = args.image_size
    stage = build_loaded_model(cfg).backbone.output_shape()[cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES[0]]
    grid = (-(-height // stage.stride), -(-width // stage.stride))
    builders = {}
    for num_classes, num_present in class_counts(args, cfg):
        for name in ("pruned", "all"):
            builders[f"{name}, {num_present} of {num_classes} classes"] = partial(
                LabelsOfScene,
                num_classes=num_classes,
                num_present=num_present,
                grid=grid,
                image_size=(height, width),
                pruned=name == "pruned",
            )
    return add_peaks(time_calls({name: build() for name, build in builders.items()}, args.rounds), builders)


def mapper(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """Time data loading."""
    records = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=False)
    mapper = SegViTSemanticDatasetMapper(cfg, is_train=True)
    loader = build_detection_train_loader(
        records,
        mapper=mapper,
        sampler=TrainingSampler(len(records), seed=0),
        total_batch_size=1,
        aspect_ratio_grouping=False,
        num_workers=1,
    )
    in_process = map(mapper, cycle(records))
    in_worker = iter(loader)
    calls: Calls = {
        "here": lambda: list(islice(in_process, args.images)),
        "one worker": lambda: list(islice(in_worker, args.images)),
    }
    rows = time_calls(calls, args.rounds)
    return [row | {"images_per_s": 1000 * args.images / row["median_ms"]} for row in rows]


def evaluation(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """Time the evaluator beside the model."""
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    image = random_input(args.image_size, num_classes, seed=0)
    model = build_random_model(cfg)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        truth = Path(folder, "truth.png")
        write_label_png(truth, image["sem_seg"].numpy(), distinct_colors(num_classes))
        names = [str(index) for index in range(num_classes)]
        MetadataCatalog.get(folder).set(stuff_classes=names, ignore_label=cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE)
        evaluator = SemSegConfusionEvaluator(folder, distributed=False)
        record = {"sem_seg_file_name": str(truth)}
        (scores,) = model([image])
        labels = {"sem_seg_labels": argmax_classes(scores["sem_seg"])}
        calls: Calls = {
            "model": lambda: model([image]),
            "evaluator, of scores": lambda: evaluator.process([record], [scores]),
            "evaluator, of labels": lambda: evaluator.process([record], [labels]),
        }
        return time_calls(calls, args.rounds)


def predictor(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """Time `SegViTPredictor` beside the model."""
    predictor = SegViTPredictor(cfg)
    images = 4 * [load_image(args.image, format="BGR")]
    prepared = predictor.prepare(images[0])
    with torch.inference_mode():
        calls: Calls = {
            "model": lambda: [predictor.model([prepared]) for _ in images],
            "predictor, one by one": lambda: [predictor(image) for image in images],
            "predictor, stream": lambda: list(predictor.stream(images)),
        }
        return time_calls(calls, args.rounds)


def precision(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """Time bfloat16 beside float32, and compare their labels."""
    model = build_segvit(cfg)
    models = {torch.float32: model, torch.bfloat16: copy.deepcopy(model).to(torch.bfloat16)}

    def scores(dtype: torch.dtype, images: Tensor) -> Tensor:
        return models[dtype](images.to(dtype))

    with torch.inference_mode():
        agreements = []
        for image_file in progress_bar(args.images or [None], title="images", unit="image"):
            images = input_images(cfg, args.image_size, batch=1, image_file=image_file)
            expected, labels = (argmax_classes(scores(dtype, images)[0]) for dtype in models)
            agreements.append((labels == expected).float().mean().item())
        calls: Calls = {
            "fp32": lambda: scores(torch.float32, images),
            "bf16": lambda: scores(torch.bfloat16, images),
        }
        rows = time_calls(calls, args.rounds)
    # The agreement on noise says nothing about images.
    labels_agree = sum(agreements) / len(agreements) if args.images else None
    return [row | {"labels_agree": labels_agree} for row in rows]


def class_counts(args: argparse.Namespace, cfg: CfgNode) -> Iterator[tuple[int, int]]:
    """All pairs of the model's number of classes and the number present in an image."""
    return product(args.classes or [cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES], args.present)


def time_calls(calls: Mapping[str, Callable[[], object]], rounds: int) -> Rows:
    timings = summarize(time_rounds(calls, rounds=rounds, progress=True))
    return [{"name": name, **timing} for name, timing in timings.items()]


def add_peaks(rows: Rows, builders: Mapping[str, Callable[[], Callable[[], object]]]) -> Rows:
    """The rows with "peak_mb", the peak memory of those that have a builder."""
    peaks = {name: peak_memory_mb(build, device=CPU) for name, build in builders.items()}
    return [row | {"peak_mb": peaks.get(row["name"])} for row in rows]
