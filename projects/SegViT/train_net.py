"""Train or evaluate SegViT.

python train_net.py --config-file FILE [--num-gpus N] [--resume] [--eval-only] [KEY VALUE ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from segvit.checkpoint.checkpointer import SegViTCheckpointer, has_checkpoint, require_weights
from segvit.checkpoint.resume import load_newest
from segvit.checkpoint.run_record import RunRecord
from segvit.cli_errors import user_errors
from segvit.d2 import load_config
from segvit.dataset_tools.doctor.training_check import check_before_training
from segvit.datasets import require_datasets
from segvit.engine import Trainer
from segvit.engine.auto_scale import scale_to_processes, unscaled_batch
from segvit.engine.launching import argument_parser, hide_gpus_from_cpu_models, launch, number_of_processes
from segvit.engine.preflight import preflight, require_same_classes
from segvit.engine.trainer import without_pretrained
from segvit.errors import UserError
from segvit.output_files import require_folder


def read_config(args: argparse.Namespace) -> CfgNode:
    """The config of this run: defaults, config file, command line. Raises UserError."""
    cfg = load_config(args.config_file, args.opts)
    cfg.freeze()
    return cfg


def setup(args: argparse.Namespace) -> CfgNode:
    """Read the config, set up logging, and seed the random generators."""
    cfg = read_config(args)
    default_setup(cfg, args)
    logger = setup_logger(output=cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="segvit")
    warning = "" if args.eval_only else unscaled_batch(args.config_file, args.opts, cfg)
    if warning:
        logger.warning(warning)
    return cfg


def resumes(cfg: CfgNode, args: argparse.Namespace) -> bool:
    """Whether --resume finds a checkpoint to continue from."""
    return args.resume and has_checkpoint(cfg.OUTPUT_DIR)


def main(args: argparse.Namespace) -> dict[str, dict[str, float]] | None:
    """One process of the job. Returns the metrics of the evaluation."""
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(without_pretrained(cfg))
        record = RunRecord.of(cfg, datasets=cfg.DATASETS.TEST)
        checkpointer = SegViTCheckpointer(model, save_dir=cfg.OUTPUT_DIR, run=record)
        if resumes(cfg, args):
            load_newest(checkpointer)
        else:
            checkpointer.load(cfg.MODEL.WEIGHTS)
        results = Trainer.test(cfg, model)
        if cfg.TEST.AUG.ENABLED:
            results.update(Trainer.test_with_TTA(cfg, model))
        return results
    if comm.is_main_process():
        check_before_training(cfg)
    trainer = Trainer(cfg, loads_encoder=not resumes(cfg, args))
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def check(args: argparse.Namespace) -> None:
    """Check config and files before any process starts. Raises UserError or OSError."""
    if not args.config_file:
        raise UserError("name a config by --config-file")
    processes = number_of_processes(args)
    cfg = read_config(args)
    preflight(cfg, trains=not args.eval_only)
    if not args.eval_only:
        scale_to_processes(cfg, processes)
    check_files(cfg, args)
    hide_gpus_from_cpu_models(cfg.MODEL.DEVICE)


def check_files(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Check weights, datasets and the output folder. Raises UserError or OSError."""
    if not resumes(cfg, args):
        require_weights(cfg.MODEL.WEIGHTS, evaluates=args.eval_only)
    needed = "TEST" if args.eval_only else "TRAIN"
    if not cfg.DATASETS[needed]:
        raise UserError(f"DATASETS.{needed} is empty: name a dataset, such as \"('folder_{needed.lower()}',)\"")
    names = cfg.DATASETS.TEST if args.eval_only else (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    require_datasets(names)
    require_same_classes(cfg, names)
    require_folder(cfg.OUTPUT_DIR, origin="OUTPUT_DIR")


@user_errors()
def command(arguments: Sequence[str] | None = None) -> None:
    """Check the command line, and start the processes of the job."""
    args = argument_parser(description=__doc__).parse_args(arguments)
    check(args)
    launch(main, args)


if __name__ == "__main__":
    command()
