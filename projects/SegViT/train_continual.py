"""Add classes to a finished model, or train all steps of a continual segmentation protocol; report what was gained.

    python train_continual.py --model FOLDER --output FOLDER [--classes NAME ...] DATASETS.FOLDER /path [KEY VALUE ...]
    python train_continual.py --model FOLDER --output FOLDER --eval-only DATASETS.FOLDER /path
    python train_continual.py --model NAME [--method continual finetune joint] [--num-gpus N] [KEY VALUE ...]

The first trains the new classes of an annotated folder; the outputs of old ones stay bit-identical. The second trains
nothing, and reports how unsure the model is about the new classes. NAME is a config with a protocol. OUTPUT_DIR/model
is the model after the last step, report.{txt,json,png} are the results, and <method>/step_<i>/ is the folder of the run
of a step. Called again with the same arguments, the program skips finished steps and resumes an interrupted one;
--overwrite starts anew.
"""

from __future__ import annotations

import segvit  # noqa: F401  (before torch: it sets how CPU threads wait)

# isort: split
import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm

from segvit.checkpoint.checkpointer import require_weights
from segvit.cli_errors import user_errors
from segvit.command_line.parser import CommandParser
from segvit.config.continual_step import KEY, continual_step
from segvit.config.first_config import require_no_first_config
from segvit.continual.added_classes import added_classes_config, adds_classes
from segvit.continual.added_images import (
    describe_evaluation,
    describe_training,
    require_fitting_images,
    require_pixels,
)
from segvit.continual.output_folder import check_output_folder, make_own
from segvit.continual.report import write_report
from segvit.continual.run import (
    METHODS,
    finished_results,
    protocol_step,
    run_or_load_step,
    step_configs,
    write_last_model,
)
from segvit.continual.step_result import StepResult
from segvit.data.step_records import step_records
from segvit.dataset_tools.doctor.training_check import check_before_training, require_known_ids
from segvit.datasets import require_datasets
from segvit.engine.auto_scale import scale_to_processes
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.engine.launch_options import (
    add_overwrite,
    argument_parser,
    number_of_processes,
    require_gpu_per_process,
    run_config,
)
from segvit.engine.launching import hide_gpus_from_cpu_models, launch
from segvit.engine.preflight import preflight, require_same_classes
from segvit.engine.run_folder import locked
from segvit.engine.run_setup import next_command, require_start, seed_run, set_up_logging, show
from segvit.errors import UserError
from segvit.output_files import require_folder

logger = logging.getLogger("segvit.train_continual")


def build_parser() -> CommandParser:
    """The options of train_net.py, the classes to add, and the methods."""
    parser = argument_parser(description=__doc__)
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="the classes to add to a model folder (default: all of the dataset that the model does not know)",
    )
    parser.add_argument(
        "--method",
        nargs="+",
        default=["continual"],
        metavar="METHOD",
        help=f"one or more of {', '.join(METHODS)} (default: continual)",
    )
    add_overwrite(parser, default="continue it, or refuse if its config is another one")
    return parser


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, checked."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.eval_only and not adds_classes(args):
        parser.error("evaluate a step with train_net.py --eval-only and the config.yaml in its folder")
    unknown = [method for method in args.method if method not in METHODS]
    if unknown or not args.method:
        parser.error(f"--method {' '.join(unknown)}: methods are {', '.join(METHODS)}")
    return args


def require_fitting_options(args: argparse.Namespace) -> None:
    """Raise UserError for an option that has no effect, with a model folder or without one."""
    if not adds_classes(args):
        if args.classes:
            raise UserError(
                f"--classes {' '.join(args.classes)}: name a trained model by --model, to which they are added"
            )
    elif args.method != ["continual"]:
        raise UserError(
            f"--method {' '.join(args.method)}: classes are added to a finished model by 'continual' alone; the others "
            "need the data of its old classes"
        )


def read_config(args: argparse.Namespace) -> CfgNode:
    """The config of all steps. Raises UserError."""
    cfg = added_classes_config(args) if adds_classes(args) else run_config(args)
    require_no_first_config(cfg, remedy="set MODEL.WEIGHTS to its final weights")
    last, step = protocol_step(cfg), continual_step(cfg)
    if cfg.TEST.AUG.ENABLED:
        raise UserError("TEST.AUG.ENABLED: steps are evaluated at one scale: leave it out")
    if step is not None and step.index != last.index:
        raise UserError(f"{KEY}.STEP: this command trains all steps, and train_net.py one of them: leave it out")
    return scale_to_processes(cfg, number_of_processes(args))


def check(args: argparse.Namespace) -> None:
    """Check config, data and every step before any process starts. Raises UserError or OSError."""
    require_start(args)
    require_fitting_options(args)
    cfg = read_config(args)
    require_gpu_per_process(cfg.MODEL.DEVICE, number_of_processes(args))
    require_weights(cfg.MODEL.WEIGHTS, evaluates=False)
    require_datasets((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    require_folder(cfg.OUTPUT_DIR, origin="OUTPUT_DIR")
    check_output_folder(cfg, overwrite=args.overwrite)
    if args.overwrite or adds_classes(args):
        require_known_ids(cfg)
    require_same_classes(cfg)
    if adds_classes(args):
        require_fitting_images(cfg)
        if args.eval_only:
            if cfg.TEST.LABELS_ONLY:
                raise UserError("TEST.LABELS_ONLY True: the AUROC is of scores: add TEST.LABELS_ONLY False")
            describe_evaluation(cfg)  # it raises if there is nothing to compare
        else:
            require_pixels(cfg)
    for method in dict.fromkeys(args.method):
        for step_cfg in step_configs(cfg, method, Path(cfg.OUTPUT_DIR)):
            trains = step_cfg.SOLVER.MAX_ITER > 0
            if trains and args.eval_only:
                continue
            preflight(step_cfg, trains=trains)
            if trains:
                step_records(step_cfg)
    hide_gpus_from_cpu_models(cfg.MODEL.DEVICE)


def main(args: argparse.Namespace) -> dict[str, list[StepResult]]:
    """One process of the job. Returns the results of all steps of each method."""
    cfg = read_config(args)
    with ExitStack() as stack:
        if comm.is_main_process():
            stack.enter_context(locked(cfg.OUTPUT_DIR))
            deleted = make_own(cfg, overwrite=args.overwrite, trains=not args.eval_only)
        comm.synchronize()
        set_up_logging(cfg.OUTPUT_DIR)
        if comm.is_main_process() and deleted:
            logger.warning("Deleted from %s: %s", cfg.OUTPUT_DIR, ", ".join(deleted))
        if cfg.TEST.LABELS_ONLY:
            logger.warning("TEST.LABELS_ONLY True: the report has no group alone, nothing forgotten and no AUROC")
        seed_run(cfg, benchmark=True)
        if adds_classes(args) and comm.is_main_process():
            check_before_training(cfg)
            show("%s", describe_evaluation(cfg) if args.eval_only else describe_training(cfg))
        return run_methods(cfg, args.method, trains=not args.eval_only)


def run_methods(cfg: CfgNode, methods: Sequence[str], *, trains: bool = True) -> dict[str, list[StepResult]]:
    """Run all steps of each method, and write the report after every step, and the model after the last one.

    Without `trains`, evaluate finished steps alone. The report has what earlier calls have finished, too.
    """
    folder = Path(cfg.OUTPUT_DIR)
    others = [method for method in METHODS if trains and method not in methods]
    results = {method: finished_results(cfg, method, folder / method) for method in others}
    results = {method: steps for method, steps in results.items() if steps}
    for method in dict.fromkeys(methods):
        configs = step_configs(cfg, method, folder / method)
        configs = [step_cfg for step_cfg in configs if trains or not step_cfg.SOLVER.MAX_ITER]
        results[method] = []
        for position, step_cfg in enumerate(configs, 1):
            show("%s: step %d of %d", method, position, len(configs))
            results[method].append(run_or_load_step(step_cfg, method, progress_bars))
            if not trains:
                results[method] = finished_results(cfg, method, folder / method) or results[method]
            if comm.is_main_process():
                text = write_report(in_order(results), folder, title=describe(cfg, trains=trains))
                show("\n%s", text)
        if method == "continual" and trains and comm.is_main_process():
            model = write_last_model(configs[-1], folder)
            show("  %s", model)
            show("%s", next_command(model, demo=Path(sys.argv[0]).parent / "demo" / "demo.py"))
    return results


def in_order(results: dict[str, list[StepResult]]) -> dict[str, list[StepResult]]:
    """The results in the order of METHODS."""
    return {method: results[method] for method in METHODS if method in results}


def progress_bars() -> list[HookBase]:
    """A progress bar in the main process."""
    return [ProgressBar()] if comm.is_main_process() else []


def describe(cfg: CfgNode, *, trains: bool = True) -> str:
    """The title of the report: dataset, protocol and schedule in one line; without `trains`, the unknown classes."""
    step = protocol_step(cfg)
    if not trains:
        unknown = ", ".join(step.class_names[class_id] for class_id in step.new_classes)
        return f"{cfg.DATASETS.TEST[0]}: a model that does not know {unknown}"
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
