"""Time what surrounds the model: losses, labels, data loading, evaluation, predictor; and the model in bfloat16.

    python benchmark_parts.py criterion --config-file A --present 5 10 20 --classes 20 150
    python benchmark_parts.py labels --config-file A --present 12 --classes 20 150
    python benchmark_parts.py mapper --config-file A DATASETS.TRAIN "('camvid_sem_seg_train',)"
    python benchmark_parts.py evaluation --config-file A --input-size 512 512
    python benchmark_parts.py predictor --config-file A --picture FILE MODEL.WEIGHTS CHECKPOINT
    python benchmark_parts.py precision --config-file A --pictures FILE ... --rounds 5

`criterion`: from label maps and logits to the gradients of the logits, by classes present and in all, and the most
memory that this takes; with `--step` beside a forward and backward pass of the whole model.
`labels`: from the output of a head that sees a scene to labels, scoring only classes that can win ("pruned") and all of
them, by classes in all, and the most memory that this takes.
`mapper`: pictures of DATASETS.TRAIN, from the files to what the model trains on, here and in one worker of the loader.
`evaluation`: a picture's segmentation, and what the evaluator then does with scores or labels.
`predictor`: four times a picture, as an array: by the model alone, after it was resized, and by `SegViTPredictor`.
`precision`: the model up to its scores in float32 and, weights and input, in bfloat16; the share of the pixels of all
pictures that get the same label.

On the CPU, in interleaved rounds; ratios are to the first line. Weights are random unless
MODEL.WEIGHTS names some.
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

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog, build_detection_train_loader, get_detection_dataset_dicts
from detectron2.data.samplers import TrainingSampler
from PIL import Image
from tabulate import tabulate
from torch import Tensor
from tqdm import tqdm

from baselines import build_whole, input_images
from criterion_step import CriterionStep
from label_endings import LabelsOfScene
from peak_memory import peak_memory_mb
from segvit.analysis import summarize, time_rounds
from segvit.analysis.from_config import build_random_model
from segvit.analysis.machine import machine_name
from segvit.cli_errors import positive, user_errors
from segvit.d2 import load_config
from segvit.data import SegViTSemanticDatasetMapper
from segvit.evaluation import SemSegConfusionEvaluator
from segvit.inference import SegViTPredictor, read_picture
from segvit.modeling.postprocessing.score_bands import argmax_classes
from training_step import TrainingStep, random_input

CPU = torch.device("cpu")
Rows = list[dict[str, object]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments; `measure` is the function of the chosen part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(
        required=True, metavar="criterion | labels | mapper | evaluation | predictor | precision"
    )
    for measure in (criterion, labels, mapper, evaluation, predictor, precision):
        part = parts.add_parser(measure.__name__, help=measure.__doc__)
        part.set_defaults(measure=measure)
        part.add_argument("--config-file", required=True, help="a YAML config")
        part.add_argument("--rounds", type=positive, default=5)
        part.add_argument("--threads", type=positive, help="CPU threads; default: PyTorch's own choice")
        part.add_argument("--json", action="store_true", help="print one JSON object")
        part.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
        if measure is mapper:
            part.add_argument("--images", type=positive, default=100, help="images a round")
        elif measure is predictor:
            part.add_argument("--picture", required=True, help="a file to segment")
        else:
            part.add_argument("--input-size", nargs=2, type=positive, metavar=("H", "W"), help="MODEL.VIT.IMG_SIZE")
        if measure is precision:
            part.add_argument(
                "--pictures", nargs="+", default=[None], metavar="FILE", help="to segment; default: noise"
            )
        if measure in (criterion, labels):
            part.add_argument("--present", type=positive, nargs="+", default=[10], help="classes in each image")
            part.add_argument("--classes", type=positive, nargs="+", help="of the model; default: the config's")
        if measure is criterion:
            part.add_argument("--batch", type=positive, default=2, help="images")
            part.add_argument("--step", action="store_true", help="also time the whole model")
    return parser.parse_args(argv)


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Build, time and print."""
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    cfg = load_config(args.config_file, [*args.opts, "MODEL.DEVICE", "cpu"])
    rows = args.measure(args, cfg)
    machine, threads = machine_name(CPU), torch.get_num_threads()
    if args.json:
        print(json.dumps({"machine": machine, "threads": threads, "parts": rows}))
    else:
        print(f"{machine}, {threads} threads, {args.measure.__name__}")
        print(tabulate(rows, "keys", "simple", floatfmt=".3f"))


def criterion(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """the losses and their gradients"""
    size = tuple(args.input_size or cfg.MODEL.VIT.IMG_SIZE)
    builders = {
        f"{present} of {num_classes} classes": partial(
            CriterionStep,
            with_classes(cfg, num_classes),
            batch_size=args.batch,
            size=size,
            num_present=present,
        )
        for num_classes, present in cases(args, cfg)
    }
    calls: dict[str, Callable[[], object]] = {name: build() for name, build in builders.items()}
    if args.step:
        step = TrainingStep(cfg, batch_size=args.batch, size=size, num_present=args.present[0])
        calls["whole model"] = lambda: sum(step.model(step.inputs).values()).backward()
    return with_peaks(timed(calls, args.rounds), builders)


def labels(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """what follows the head"""
    size = tuple(args.input_size or cfg.MODEL.VIT.IMG_SIZE)
    stage = build_random_model(cfg).backbone.output_shape()[cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES[0]]
    grid = tuple(-(-length // stage.stride) for length in size)
    builders = {
        f"{name}, {present} of {num_classes} classes": partial(
            LabelsOfScene, num_classes=num_classes, num_present=present, grid=grid, size=size, pruned=name == "pruned"
        )
        for num_classes, present in cases(args, cfg)
        for name in ("pruned", "all")
    }
    return with_peaks(timed({name: build() for name, build in builders.items()}, args.rounds), builders)


def cases(args: argparse.Namespace, cfg: CfgNode) -> Iterator[tuple[int, int]]:
    """Numbers of classes in all, and of classes present."""
    return product(args.classes or [cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES], args.present)


def with_peaks(rows: Rows, builders: Mapping[str, Callable[[], Callable[[], object]]]) -> Rows:
    """The lines with the peak of memory of what can be built anew."""
    peaks = {name: peak_memory_mb(build, device=CPU) for name, build in builders.items()}
    return [row | {"peak_mb": peaks.get(row["name"])} for row in rows]


def with_classes(cfg: CfgNode, num_classes: int) -> CfgNode:
    """The config with another number of classes."""
    cfg = cfg.clone()
    cfg.merge_from_list(["MODEL.SEM_SEG_HEAD.NUM_CLASSES", num_classes])
    return cfg


def mapper(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """data loading"""
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
    here, worker = map(mapper, cycle(records)), iter(loader)
    calls = {"here": partial(take, here, args.images), "one worker": partial(take, worker, args.images)}
    rows = timed(calls, args.rounds)
    return [row | {"images_per_s": 1000 * args.images / row["median_ms"]} for row in rows]


def take(images: Iterator[object], count: int) -> None:
    """Wait for so many images."""
    for _ in islice(images, count):
        pass


def evaluation(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """the evaluator"""
    size, num_classes = tuple(args.input_size or cfg.MODEL.VIT.IMG_SIZE), cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    picture = random_input(size, num_classes, seed=0)
    model = build_random_model(cfg)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        truth = Path(folder, "truth.png")
        Image.fromarray(picture["sem_seg"].to(torch.uint8).numpy()).save(truth)
        names = [str(index) for index in range(num_classes)]
        MetadataCatalog.get(folder).set(stuff_classes=names, ignore_label=cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE)
        evaluator = SemSegConfusionEvaluator(folder, distributed=False)
        record = {"sem_seg_file_name": str(truth)}
        (scores,) = model([picture])
        labels = {"sem_seg_labels": argmax_classes(scores["sem_seg"])}
        calls = {
            "model": lambda: model([picture]),
            "evaluator, of scores": lambda: evaluator.process([record], [scores]),
            "evaluator, of labels": lambda: evaluator.process([record], [labels]),
        }
        return timed(calls, args.rounds)


def predictor(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """a picture in an app"""
    segment = SegViTPredictor(cfg)
    pictures = 4 * [read_picture(args.picture, format="BGR")]
    prepared = segment.prepare(pictures[0])
    with torch.inference_mode():
        calls = {
            "model": lambda: [segment.model([prepared]) for _ in pictures],
            "predictor, one by one": lambda: [segment(picture) for picture in pictures],
            "predictor, stream": lambda: list(segment.stream(pictures)),
        }
        return timed(calls, args.rounds)


def precision(args: argparse.Namespace, cfg: CfgNode) -> Rows:
    """bfloat16 against float32"""
    size = tuple(args.input_size or cfg.MODEL.VIT.IMG_SIZE)
    model = build_whole(cfg)
    models = {"fp32": model, "bf16": copy.deepcopy(model).to(torch.bfloat16)}

    def scores(name: str, images: Tensor) -> Tensor:
        return models[name](images.to(next(models[name].parameters()).dtype))

    with torch.inference_mode():
        agreed = []
        for picture in tqdm(args.pictures, desc="pictures", unit="picture"):
            images = input_images(cfg, size, batch=1, picture=picture)
            labels = [argmax_classes(scores(name, images)[0]) for name in models]
            agreed.append((labels[0] == labels[1]).float().mean().item())
        rows = timed({name: partial(scores, name, images) for name in models}, args.rounds)
    mean = sum(agreed) / len(agreed) if args.pictures != [None] else None  # of noise it would say nothing
    return [row | {"labels_agree": mean} for row in rows]


def timed(calls: Mapping[str, Callable[[], object]], rounds: int) -> Rows:
    """A line for each of them."""
    timings = summarize(time_rounds(calls, rounds=rounds, progress=True))
    return [{"name": name, **timing} for name, timing in timings.items()]


if __name__ == "__main__":
    main()
