"""Train or evaluate SegViT.

python train_net.py --config-file FILE [--num-gpus N] [--resume] [--eval-only] [KEY VALUE ...]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from segvit.d2 import get_segvit_cfg
from segvit.d2.checkpoint import SegViTCheckpointer
from segvit.engine import Trainer


def read_config(args: argparse.Namespace) -> CfgNode:
    """The config of this run: defaults, then the file, then the command line."""
    flags = [option for option in args.opts if option.startswith("--")]
    if flags:
        raise SystemExit(f"{', '.join(flags)} must come before the KEY VALUE pairs")
    cfg = get_segvit_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    if args.eval_only or (args.resume and Path(cfg.OUTPUT_DIR, "last_checkpoint").is_file()):
        cfg.MODEL.VIT.PRETRAINED = ""  # the checkpoint fills the encoder, too
    cfg.freeze()
    return cfg


def setup(args: argparse.Namespace) -> CfgNode:
    """The config, with logging and the seed set up by it."""
    cfg = read_config(args)
    default_setup(cfg, args)
    setup_logger(output=cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="segvit")
    return cfg


def main(args: argparse.Namespace) -> dict[str, dict[str, float]] | None:
    """One process of the job. Returns the metrics of the evaluation."""
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        SegViTCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        return Trainer.test(cfg, model)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    if read_config(args).MODEL.DEVICE == "cpu":
        # Detectron2 takes NCCL, and a GPU per process, wherever it sees one; CPU models need gloo.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
