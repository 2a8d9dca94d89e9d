"""Time the parts around the model: losses, labels, data loading, evaluation, predictor; and the model in bfloat16.

    python benchmark_parts.py PART --model A [options of the part] [KEY VALUE ...]

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

import json
from collections.abc import Sequence

import torch
from tabulate import tabulate

from segvit.analysis.timing import machine_name
from segvit.cli_errors import positive, user_errors
from segvit.command_line.model_arguments import add_any_model, config_of
from segvit.command_line.parser import CommandParser
from timed_parts import CPU, criterion, evaluation, labels, mapper, precision, predictor


def build_parser() -> CommandParser:
    """The arguments; `measure` is the function of the chosen part."""
    parser = CommandParser(description=__doc__, former={"--picture": "--image", "--pictures": "--images"})
    parts = parser.add_subparsers(
        required=True, metavar="criterion | labels | mapper | evaluation | predictor | precision"
    )
    for measure in (criterion, labels, mapper, evaluation, predictor, precision):
        part = parts.add_parser(measure.__name__, help=measure.__doc__)
        part.set_defaults(measure=measure)
        add_any_model(part)
        part.add_argument(
            "--rounds", type=positive, default=5, metavar="N", help="timed calls of each line (default: 5)"
        )
        part.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: PyTorch's choice)")
        part.add_argument("--json", action="store_true", help="print one JSON object (default: a table)")
        part.add_overrides(device="everything runs on the CPU")
        if measure is mapper:
            part.add_argument(
                "--images", type=positive, default=100, metavar="N", help="images per round (default: 100)"
            )
        elif measure is predictor:
            part.add_argument("--image", required=True, metavar="FILE", help="the image to segment")
        else:
            part.add_argument(
                "--input-size", nargs=2, type=positive, metavar=("H", "W"), help="image size (default: A's IMG_SIZE)"
            )
        if measure is precision:
            part.add_argument("--images", nargs="+", metavar="FILE", help="images to segment (default: noise)")
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
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    cfg = config_of(args, [*args.opts, "MODEL.DEVICE", "cpu"])
    args.image_size = tuple(getattr(args, "input_size", None) or cfg.MODEL.VIT.IMG_SIZE)
    rows = args.measure(args, cfg)
    machine = machine_name(CPU)
    threads = torch.get_num_threads()
    if args.json:
        print(json.dumps({"machine": machine, "threads": threads, "parts": rows}))
    else:
        print(f"{machine}, {threads} threads, {args.measure.__name__}")
        print(tabulate(rows, "keys", "simple", floatfmt=".3f"))


if __name__ == "__main__":
    main()
