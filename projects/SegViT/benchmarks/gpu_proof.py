"""Show on a CUDA GPU, in eight minutes, that everything runs and agrees with the CPU, and measure how fast it is.

    python projects/SegViT/benchmarks/gpu_proof.py --output output/gpu_proof

Parts: `agreement`, every kind of model in small size against the CPU; `processes`, training runs on generated toy
scenes in three precisions, SIGTERM and --resume, torchrun; `training`, time and memory of full-size training steps;
`inference`, images per second against a linear head and EoMT; `profile`, kernels, busy share and host waits of a step;
`compiled`, training steps with torch.compile. Weights are random, and nothing is downloaded. A check that fails is
reported with its traceback, and the others go on. `gpu_proof.json` and `gpu_proof.md` are written after each check.

The exit code is 0 where all checks passed, 1 where one failed or found no time, and 2 without a CUDA GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from gpu.checks import Check, Part, Values, run_parts
from gpu.toy_runs import ToyRuns
from segvit.cli_errors import positive, user_errors
from segvit.command_line.parser import CommandParser
from segvit.output_files import require_folder

# Seconds of each part where the whole takes 480.
SECONDS = {"agreement": 90, "processes": 110, "training": 100, "inference": 60, "profile": 20, "compiled": 100}

# Checks of each part that --quick runs.
QUICK = {"agreement": 3, "processes": 99, "training": 2, "inference": 5, "profile": 1, "compiled": 0}


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/gpu_proof"),
        metavar="FOLDER",
        help="folder of the report (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds", type=positive, default=480, metavar="N", help="time limit of the whole (default: 480)"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=list(SECONDS), default=list(SECONDS), help="run these alone (default: all)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few checks of each part, to see that they start (default: all checks)"
    )
    parser.add_argument(
        "--iterations",
        type=positive,
        metavar="N",
        help="iterations of the training runs on the toy scenes (default: 600, with --quick 60)",
    )
    parser.add_argument("--commit", metavar="ID", help="commit of the code, for the report (default: what git says)")
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts and write the report."""
    args = build_parser().parse_args(argv)
    if not torch.cuda.is_available():
        print("gpu_proof.py needs a CUDA GPU, and PyTorch sees none here", file=sys.stderr)
        raise SystemExit(2)
    require_folder(args.output, origin="--output")
    args.output.mkdir(parents=True, exist_ok=True)
    raise SystemExit(0 if run(args) else 1)


def run(args: argparse.Namespace) -> bool:
    """Whether all checks passed."""
    from gpu.report import Results, machine, write_report

    toy_runs = ToyRuns(args.output / "toy", iterations=args.iterations or (60 if args.quick else 600))
    builders = part_builders(toy_runs, rounds=3 if args.quick else 10)
    scale = args.seconds / sum(SECONDS[name] for name in args.parts)
    parts = [
        Part(name, seconds=SECONDS[name] * scale, build=partial(first, QUICK[name], build) if args.quick else build)
        for name, build in builders.items()
        if name in args.parts
    ]
    header = machine() | ({"commit": args.commit} if args.commit else {})
    header["command"] = " ".join(["gpu_proof.py", *sys.argv[1:]])
    results: Results = {}

    def record(part: str, check: str, values: Values) -> None:
        results.setdefault(part, {})[check] = values
        write_report(args.output, header, results)

    try:
        run_parts(parts, record=record)
    finally:
        toy_runs.kill_all()
    print((args.output / "gpu_proof.md").read_text(encoding="utf-8"))
    return all(values["ok"] for checks in results.values() for values in checks.values())


def part_builders(toy_runs: ToyRuns, *, rounds: int) -> dict[str, Callable[[], Sequence[Check]]]:
    """What makes the checks of each part; libraries that a part needs are imported only there."""

    def agreement() -> Sequence[Check]:
        from gpu.agreement import agreement_checks

        return agreement_checks()

    def training() -> Sequence[Check]:
        from gpu.training_speed import training_checks

        return training_checks(rounds=rounds)

    def inference() -> Sequence[Check]:
        from gpu.inference_speed import inference_checks

        return inference_checks(rounds=rounds)

    def profile() -> Sequence[Check]:
        from gpu.step_profile import profile_checks

        return profile_checks()

    def compiled() -> Sequence[Check]:
        from gpu.inference_speed import compiled_inference_checks
        from gpu.training_speed import compiled_checks

        return [
            *compiled_checks("ViT-B 512", ["default", "fewest-kernels"]),
            *compiled_inference_checks(),
            *compiled_checks("ViT-L 640", ["default"]),
        ]

    return {
        "agreement": agreement,
        "processes": toy_runs.checks,
        "training": training,
        "inference": inference,
        "profile": profile,
        "compiled": compiled,
    }


def first(count: int, build: Callable[[], Sequence[Check]]) -> Sequence[Check]:
    """The first checks of a part."""
    return build()[:count]


if __name__ == "__main__":
    main()
