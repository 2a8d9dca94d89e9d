"""Train or evaluate SegViT.

python train_net.py --model NAME [--output FOLDER] [--num-gpus N] [--resume | --overwrite] [--eval-only] [KEY VALUE ...]

NAME is a config for a new model, such as custom/segvit_scratch_320x240 with DATASETS.FOLDER /path/to/your/folder, or a
trained model to continue from or, with --eval-only, to evaluate.
"""

from __future__ import annotations

import segvit  # noqa: F401  (before torch: it sets how CPU threads wait)

# isort: split
import argparse
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise

from detectron2.config import CfgNode
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from segvit.assembly.encoder_weights import without_pretrained
from segvit.checkpoint.checkpointer import SegViTCheckpointer, has_checkpoint, require_weights
from segvit.checkpoint.resume import load_newest
from segvit.checkpoint.run_record import RunRecord
from segvit.cli_errors import user_errors
from segvit.command_line.model_arguments import config_file_of, names_weights
from segvit.command_line.parser import CommandParser
from segvit.config.continual_step import KEY, continual_step
from segvit.dataset_tools.doctor.training_check import (
    MEANINGLESS_METRICS,
    check_before_training,
    require_known_ids,
)
from segvit.datasets import require_datasets
from segvit.engine import Trainer
from segvit.engine.auto_scale import scale_to_processes, unscaled_batch
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.engine.hooks.stop_on_sigterm import EXIT_CODE
from segvit.engine.launch_options import (
    add_overwrite,
    argument_parser,
    number_of_processes,
    parts_of,
    require_gpu_per_process,
    run_config,
)
from segvit.engine.launching import hide_gpus_from_cpu_models, launch
from segvit.engine.preflight import preflight, require_fitting_start, require_same_classes
from segvit.engine.run_folder import clear, locked
from segvit.engine.run_setup import check_run_folder, run_in_folder, seed_run, show, show_result
from segvit.errors import UserError
from segvit.output_files import require_folder

logger = logging.getLogger("segvit.train_net")


def build_parser() -> CommandParser:
    """The options of a training, and --overwrite."""
    parser = argument_parser(description=__doc__)
    add_overwrite(parser, default="refuse")
    return parser


def read_config(args: argparse.Namespace) -> CfgNode:
    """The config of this run: defaults, config file, command line. Raises UserError."""
    cfg = run_config(args)
    cfg.freeze()
    return cfg


def resumes(cfg: CfgNode, args: argparse.Namespace) -> bool:
    """Whether --resume finds a checkpoint to continue from."""
    return args.resume and has_checkpoint(cfg.OUTPUT_DIR)


def main(args: argparse.Namespace) -> dict[str, dict[str, float]] | None:
    """One process of the job: the training of SOLVER.FIRST_CONFIG, and its own. Returns its last metrics."""
    *first, own = parts_of(args)
    if not first:
        return run(own)
    cfg = read_config(own)
    # The folder is this job's from the start, and --resume after a stop must not find a run that --overwrite replaces.
    with locked(cfg.OUTPUT_DIR) if comm.is_main_process() else nullcontext():
        if args.overwrite and comm.is_main_process():
            logger.warning("Deleted from %s: %s", cfg.OUTPUT_DIR, ", ".join(clear(cfg.OUTPUT_DIR)) or "nothing")
        comm.synchronize()
        for part in first:
            run(part, is_last=False)
        return run(own)


def run(args: argparse.Namespace, *, is_last: bool = True) -> dict[str, dict[str, float]] | None:
    """Train or evaluate one config. Returns the metrics of the last evaluation.

    Raises:
        SystemExit: 75 after SIGTERM, if another training is to follow.
    """
    cfg = read_config(args)
    continues = resumes(cfg, args)
    with run_in_folder(cfg, args, resumes=continues):
        if not is_last:
            show("It is trained first, and another training begins with its weights")
        seed_run(cfg, benchmark=not args.eval_only)
        if args.eval_only:
            results, wants_stop = evaluate(cfg, continues), False
        else:
            results, wants_stop = train(cfg, args, continues)
        show_result(cfg, results, trained=not args.eval_only)
        if not is_last and any(comm.all_gather(wants_stop)):
            logger.warning("SIGTERM: stopped before the next training. The same command continues, with --resume")
            raise SystemExit(EXIT_CODE)
    return results


def evaluate(cfg: CfgNode, continues: bool) -> dict[str, dict[str, float]]:
    """Evaluate MODEL.WEIGHTS or, if the run continues, the newest checkpoint of OUTPUT_DIR."""
    model = Trainer.build_model(without_pretrained(cfg))
    record = RunRecord.of(cfg, datasets=cfg.DATASETS.TEST)
    checkpointer = SegViTCheckpointer(model, save_dir=cfg.OUTPUT_DIR, run=record)
    if continues:
        load_newest(checkpointer)
    else:
        checkpointer.load(cfg.MODEL.WEIGHTS)
    results = Trainer.test(cfg, model)
    if cfg.TEST.AUG.ENABLED:
        results.update(Trainer.test_with_TTA(cfg, model))
    if comm.is_main_process() and cfg.TEST.EXPECTED_RESULTS:
        verify_results(cfg, results)
    return results


def train(cfg: CfgNode, args: argparse.Namespace, continues: bool) -> tuple[dict[str, dict[str, float]] | None, bool]:
    """Train from the start, or from the newest checkpoint of OUTPUT_DIR. Returns metrics, and whether SIGTERM came."""
    warning = unscaled_batch(config_file_of(args), args.opts, cfg)
    if warning:
        logger.warning(warning)
    if cfg.TEST.AUG.ENABLED:
        logger.warning("TEST.AUG.ENABLED: evaluations in training use one scale; train_net.py --eval-only uses all")
    findings = check_before_training(cfg) if comm.is_main_process() else []
    trainer = Trainer(cfg, loads_encoder=not continues)
    trainer.judged_datasets |= {finding.split for finding in findings if finding.kind in MEANINGLESS_METRICS}
    if comm.is_main_process():
        trainer.register_hooks([ProgressBar()])
    trainer.resume_or_load(resume=continues)
    trainer.train()
    return trainer.last_results, trainer.wants_stop


def check(args: argparse.Namespace) -> None:
    """Check configs and files before any process starts. Raises UserError or OSError."""
    parts = parts_of(args)
    configs = [check_run(part, has_weights=part is parts[0]) for part in parts]
    for first, cfg in pairwise(configs):
        require_fitting_start(first, cfg)
    hide_gpus_from_cpu_models(configs[0].MODEL.DEVICE)


def check_run(args: argparse.Namespace, *, has_weights: bool) -> CfgNode:
    """Check one training or evaluation. Returns its config.

    Args:
        args: of this one.
        has_weights: False if a training before it writes MODEL.WEIGHTS.
    """
    processes = number_of_processes(args)
    cfg = read_config(args)
    require_gpu_per_process(cfg.MODEL.DEVICE, processes)
    preflight(cfg, trains=not args.eval_only)
    if not args.eval_only:
        require_all_classes(cfg)
        scale_to_processes(cfg, processes)
    check_files(cfg, args, has_weights=has_weights)
    if args.overwrite:
        require_known_ids(cfg)
    return cfg


def require_all_classes(cfg: CfgNode) -> None:
    """Raise UserError if the labels of a continual step would train a model of all classes."""
    step, name = continual_step(cfg), cfg.MODEL.SEM_SEG_HEAD.NAME
    if step is not None and name == "AttentionToMaskHead" and len(step.groups) > 1:
        raise UserError(
            f"{KEY} has {len(step.groups)} groups of classes, but MODEL.SEM_SEG_HEAD.NAME {name!r} has one decoder: it "
            f"would train on the labels of step {step.index} alone. Set ContinualHead; train_continual.py "
            "--method finetune trains this baseline"
        )


def check_files(cfg: CfgNode, args: argparse.Namespace, *, has_weights: bool) -> None:
    """Check weights, datasets and the output folder. Raises UserError or OSError."""
    if not resumes(cfg, args) and has_weights:
        require_weights(cfg.MODEL.WEIGHTS, evaluates=args.eval_only)
    elif args.eval_only and names_weights(args):
        raise UserError(
            f"--resume evaluates the newest checkpoint of OUTPUT_DIR {cfg.OUTPUT_DIR!r}, and not MODEL.WEIGHTS "
            f"{cfg.MODEL.WEIGHTS!r}: leave it out, or the weights"
        )
    needed = "TEST" if args.eval_only else "TRAIN"
    if not cfg.DATASETS[needed]:
        raise UserError(f"DATASETS.{needed} is empty: name a dataset, such as \"('folder_{needed.lower()}',)\"")
    names = cfg.DATASETS.TEST if args.eval_only else (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    require_datasets(names)
    require_same_classes(cfg, names)
    require_folder(cfg.OUTPUT_DIR, origin="OUTPUT_DIR")
    check_run_folder(cfg, args, resumes=resumes(cfg, args))


@user_errors()
def command(arguments: Sequence[str] | None = None) -> None:
    """Check the command line, and start the processes of the job."""
    args = build_parser().parse_args(arguments)
    check(args)
    launch(main, args)


if __name__ == "__main__":
    command()
