"""Time the parts around the model: losses, labels, data loading, evaluation, predictor; and the model in bfloat16.

    python benchmark_parts.py PART --config-file A [options of the part] [KEY VALUE ...]

criterion: from label maps and logits to losses and the gradients of the logits, by number of classes, with the peak
    memory; with --step also a forward and backward pass of the whole model.
labels: from the head's output for a synthetic scene to labels, scoring candidate classes only ("pruned") and all
    classes, with the peak memory.
mapper: from the files of DATASETS.TRAIN to the model's input, in this process and in one worker of the loader.
evaluation: the model on one image, and the evaluator on its scores and on its labels.
predictor: four times one image, by the model alone and by `SegViTPredictor`, one by one and as a stream.
precision: the model up to its scores in float32 and in bfloat16, with the fraction of pixels of equal label.

Everything runs on the CPU in interleaved rounds; ratios are to the first line. Weights are random unless MODEL.WEIGHTS
is set.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog, build_detection_train_loader, get_detection_dataset_dicts
from detectron2.data.samplers import TrainingSampler
from tabulate import tabulate
from torch import Tensor
from tqdm import tqdm

from baselines import build_loaded_model, build_segvit, input_images, override
from criterion_step import CriterionStep
from label_endings import LabelsOfScene
from measurements import peak_memory_mb
from segvit.analysis import summarize, time_rounds
from segvit.analysis.from_config import build_random_model
from segvit.analysis.machine import machine_name
from segvit.cli_errors import positive, user_errors
from segvit.d2 import load_config
from segvit.data import SegViTSemanticDatasetMapper
from segvit.datasets.palette import distinct_colors
from segvit.evaluation import SemSegConfusionEvaluator
from segvit.inference import SegViTPredictor, load_image
from segvit.label_png import write_label_png
from segvit.modeling.postprocessing.score_bands import argmax_classes
from training_step import TrainingStep, random_input

CPU = torch.device("cpu")
# The lines of a report: "name", "median_ms", "spread", "ratio", and figures of the part.
Rows = list[dict[str, Any]]
Calls = dict[str, Callable[[], object]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments; `measure` is the function of the chosen part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(
        required=True, metavar="criterion | labels | mapper | evaluation | predictor | precision"
    )
    for measure in (criterion, labels, mapper, evaluation, predictor, precision):
        part = parts.add_parser(measure.__name__, help=measure.__doc__)
        part.set_defaults(measure=measure)
        part.add_argument("--config-file", required=True, metavar="A", help="the config, a YAML file")
        part.add_argument(
            "--rounds", type=positive, default=5, metavar="N", help="timed calls of each line (default: 5)"
        )
        part.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: PyTorch's choice)")
        part.add_argument("--json", action="store_true", help="print one JSON object (default: a table)")
        part.add_argument(
            "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides, after all options"
        )
        if measure is mapper:
            part.add_argument(
                "--images", type=positive, default=100, metavar="N", help="images per round (default: 100)"
            )
        elif measure is predictor:
            part.add_argument("--image", "--picture", required=True, metavar="FILE", help="the image to segment")
        else:
            part.add_argument(
                "--input-size", nargs=2, type=positive, metavar=("H", "W"), help="image size (default: A's IMG_SIZE)"
            )
        if measure is precision:
            part.add_argument(
                "--images", "--pictures", nargs="+", metavar="FILE", help="images to segment (default: noise)"
            )
        if measure in (criterion, labels):
            part.add_argument(
                "--present",
                type=positive,
                nargs="+",
                default=[10],
                metavar="N",
                help="classes in each image (default: 10)",
            )
            part.add_argument(
                "--classes", type=positive, nargs="+", metavar="K", help="classes of the model (default: A's)"
            )
        if measure is criterion:
            part.add_argument("--batch", type=positive, default=2, metavar="N", help="images per step (default: 2)")
            part.add_argument(
                "--step", action="store_true", help="also time the whole model (default: the losses alone)"
            )
    return parser.parse_args(argv)


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    cfg = load_config(args.config_file, [*args.opts, "MODEL.DEVICE", "cpu"])
    args.image_size = tuple(getattr(args, "input_size", None) or cfg.MODEL.VIT.IMG_SIZE)
    rows = args.measure(args, cfg)
    machine = machine_name(CPU)
    threads = torch.get_num_threads()
    if args.json:
        print(json.dumps({"machine": machine, "threads": threads, "parts": rows}))
    else:
        print(f"{machine}, {threads} threads, {args.measure.__name__}")
        print(tabulate(rows, "keys", "simple", floatfmt=".3f"))


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
        for image_file in tqdm(args.images or [None], desc="images", unit="image"):
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


if __name__ == "__main__":
    main()
