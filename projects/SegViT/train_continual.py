"""Train all steps of a continual segmentation protocol, and report what each kept and gained.

    python train_continual.py --model NAME [--method continual finetune joint] [--num-gpus N] [KEY VALUE ...]

OUTPUT_DIR/<method>/step_<i>.pth is the model after step i; step_<i>/ is the folder of its run, with the config.yaml for
`train_net.py --eval-only`. Called again with the same config, the program skips finished steps and resumes an
interrupted one. OUTPUT_DIR/report.{txt,json,png} are the results.
"""

from __future__ import annotations

import segvit  # noqa: F401  (before torch: it sets how CPU threads wait)

# isort: split
import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm

from segvit.checkpoint.checkpointer import require_weights
from segvit.cli_errors import user_errors
from segvit.command_line.parser import CommandParser
from segvit.continual.report import write_report
from segvit.continual.run import METHODS, StepResult, protocol_step, run_or_load_step, step_configs
from segvit.data.step_records import step_records
from segvit.datasets import require_datasets
from segvit.engine.auto_scale import scale_to_processes
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.engine.launch_options import argument_parser, number_of_processes, require_gpu_per_process, run_config
from segvit.engine.launching import hide_gpus_from_cpu_models, launch
from segvit.engine.preflight import preflight, require_same_classes
from segvit.engine.run_folder import locked
from segvit.engine.run_setup import seed_run, set_up_logging, show
from segvit.experiments.cached_run import lock_config
from segvit.output_files import require_folder


def build_parser() -> CommandParser:
    """The options of train_net.py, and the methods."""
    parser = argument_parser(description=__doc__)
    parser.add_argument(
        "--method",
        nargs="+",
        default=["continual"],
        metavar="METHOD",
        help=f"one or more of {', '.join(METHODS)} (default: continual)",
    )
    return parser


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, checked."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.eval_only:
        parser.error("evaluate a step with train_net.py --eval-only and the config.yaml in its folder")
    unknown = [method for method in args.method if method not in METHODS]
    if unknown or not args.method:
        parser.error(f"--method {' '.join(unknown)}: methods are {', '.join(METHODS)}")
    return args


def read_config(args: argparse.Namespace) -> CfgNode:
    """The config of the whole protocol. Raises UserError."""
    cfg = run_config(args)
    protocol_step(cfg)
    return scale_to_processes(cfg, number_of_processes(args))


def check(args: argparse.Namespace) -> None:
    """Check config, data and every step before any process starts. Raises UserError or OSError."""
    cfg = read_config(args)
    require_gpu_per_process(cfg.MODEL.DEVICE, number_of_processes(args))
    require_weights(cfg.MODEL.WEIGHTS, evaluates=False)
    require_datasets((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    require_folder(cfg.OUTPUT_DIR, origin="OUTPUT_DIR")
    require_same_classes(cfg)
    for step_cfg in step_configs(cfg, args.method[0], Path(cfg.OUTPUT_DIR)):
        preflight(step_cfg, trains=step_cfg.SOLVER.MAX_ITER > 0)
        if step_cfg.SOLVER.MAX_ITER:
            step_records(step_cfg)
    hide_gpus_from_cpu_models(cfg.MODEL.DEVICE)


def main(args: argparse.Namespace) -> dict[str, list[StepResult]]:
    """One process of the job. Returns the results of all steps of each method."""
    cfg = read_config(args)
    with ExitStack() as stack:
        if comm.is_main_process():
            stack.enter_context(locked(cfg.OUTPUT_DIR))
            lock_config(cfg, Path(cfg.OUTPUT_DIR))
        comm.synchronize()
        set_up_logging(cfg.OUTPUT_DIR)
        seed_run(cfg, benchmark=True)
        return run_methods(cfg, args.method)


def run_methods(cfg: CfgNode, methods: Sequence[str]) -> dict[str, list[StepResult]]:
    """Run all steps of each method, and write the report after every step."""
    results: dict[str, list[StepResult]] = {}
    for method in dict.fromkeys(methods):
        configs = step_configs(cfg, method, Path(cfg.OUTPUT_DIR, method))
        results[method] = []
        for position, step_cfg in enumerate(configs, 1):
            show("%s: step %d of %d", method, position, len(configs))
            results[method].append(run_or_load_step(step_cfg, method, progress_bars))
            if comm.is_main_process():
                text = write_report(results, Path(cfg.OUTPUT_DIR), title=describe(cfg))
                show("\n%s", text)
    return results


def progress_bars() -> list[HookBase]:
    """A progress bar in the main process."""
    return [ProgressBar()] if comm.is_main_process() else []


def describe(cfg: CfgNode) -> str:
    """The title of the report: dataset, protocol and schedule in one line."""
    step = protocol_step(cfg)
    sizes = "-".join(str(len(group)) for group in step.groups)
    iterations = ", ".join(map(str, step.iterations)) or f"{cfg.SOLVER.MAX_ITER} each"
    return (
        f"{cfg.DATASETS.TEST[0]}: {sizes} classes, {step.selection}, iterations {iterations}, "
        f"seed {max(cfg.SEED, 0)}, calibration {step.calibration}"
    )


@user_errors()
def command(arguments: Sequence[str] | None = None) -> None:
    """Check the command line, and start the processes of the job."""
    args = parse_args(arguments)
    check(args)
    launch(main, args)


if __name__ == "__main__":
    command()
