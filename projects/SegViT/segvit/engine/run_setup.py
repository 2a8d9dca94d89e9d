"""Start and end of a training or evaluation command: logging, seed, config.yaml, and the lines that the terminal shows.

log.txt gets every message; the terminal shows warnings, the progress bar, and a few lines that are marked for it.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from segvit.engine.run_folder import (
    clear,
    clear_evaluation,
    has_trained,
    locked,
    require_kept_weights,
    require_own_folder,
    require_own_weights,
    write_config,
)
from segvit.errors import UserError
from segvit.model_folder.files import MODEL_FOLDER

logger = logging.getLogger(__name__)

# Packages whose messages are logged.
LOGGED = ("detectron2", "fvcore", "segvit")
# Detectron2's operators for boxes, which SegViT does not use: a line that says they are missing only alarms.
UNUSED_OPERATORS = "detectron2._C"
# The handlers of the run of this process, with their loggers.
_attached: list[tuple[logging.Logger, logging.Handler]] = []


@contextmanager
def run_in_folder(cfg: CfgNode, args: argparse.Namespace, *, resumes: bool) -> Iterator[None]:
    """Hold OUTPUT_DIR while a command runs, and start its log. Every process of the job calls it.

    Args:
        cfg: the config of the run.
        args: with `eval_only`, `overwrite`, `model` and `config_file`.
        resumes: whether the run continues from a checkpoint in the folder.

    Raises:
        UserError: another process uses the folder, or another run has trained there.
    """
    if not comm.is_main_process():
        comm.synchronize()
        set_up_logging(cfg.OUTPUT_DIR)
        yield
        return
    with locked(cfg.OUTPUT_DIR):
        deleted = clear_evaluation(cfg) if args.eval_only else [] if resumes else make_own(cfg, args)
        set_up_logging(cfg.OUTPUT_DIR)
        # After the main process has cleared the folder, the others open their logs in it.
        if deleted and args.eval_only:
            show("The results of this evaluation replace earlier ones in %s: %s", cfg.OUTPUT_DIR, ", ".join(deleted))
        elif deleted:
            logger.warning("Deleted from %s: %s", cfg.OUTPUT_DIR, ", ".join(deleted))
        comm.synchronize()
        _log_start(cfg, args)
        yield


def make_own(cfg: CfgNode, args: argparse.Namespace) -> list[str]:
    """Make the folder that of a new run; returns the names of deleted files. Raises UserError if it has another run."""
    # --resume without a checkpoint starts anew: metrics of the lost attempt must not mix with those of this one.
    starts_again = args.overwrite or (args.resume and has_trained(cfg.OUTPUT_DIR))
    require_own_folder(cfg.OUTPUT_DIR, overwrite=starts_again)
    deleted = clear(cfg.OUTPUT_DIR) if starts_again else []
    write_config(cfg)
    return deleted


def check_run_folder(cfg: CfgNode, args: argparse.Namespace, *, resumes: bool) -> None:
    """Refuse a folder that has another run before any process starts. Raises UserError."""
    require_start(args)
    if args.eval_only and not resumes:
        require_own_weights(cfg)
    if not (args.eval_only or resumes or args.resume):
        require_own_folder(cfg.OUTPUT_DIR, overwrite=args.overwrite)
    if args.overwrite:
        require_kept_weights(cfg)


def require_start(args: argparse.Namespace) -> None:
    """Raise UserError if --overwrite stands beside an option that starts no new run."""
    if args.overwrite and (args.resume or args.eval_only):
        raise UserError("--overwrite starts a new run: it does not go with --resume or --eval-only")


def set_up_logging(folder: str) -> None:
    """Write all messages to log.txt, without color codes; show warnings and marked lines on the terminal.

    A record's attribute `terminal` says whether it is shown, whatever its level is. The log of an earlier run of this
    process gets no more messages.
    """
    while _attached:
        earlier, handler = _attached.pop()
        earlier.removeHandler(handler)
    setup_logger.cache_clear()  # it attaches handlers in its first call with certain arguments alone
    for name in LOGGED:
        others = list(logging.getLogger(name).handlers)
        run_logger = setup_logger(folder, distributed_rank=comm.get_rank(), name=name, color=False)
        for handler in run_logger.handlers:
            if handler not in others:
                _attached.append((run_logger, handler))
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                handler.addFilter(_is_for_terminal)


def log_to_file(folder: str | Path, *, terminal_level: int) -> None:
    """Write all messages to log.txt; show those from a level on, such as `logging.WARNING`, on the terminal."""
    for name in LOGGED:
        for handler in setup_logger(str(folder), name=name).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                handler.setLevel(terminal_level)


def show(text: str, *values: object) -> None:
    """Log a line that the terminal shows, too; in the main process alone."""
    if comm.is_main_process():
        logger.info(text, *values, extra={"terminal": True})


def _is_for_terminal(record: logging.LogRecord) -> bool:
    return getattr(record, "terminal", record.levelno >= logging.WARNING)


def _log_start(cfg: CfgNode, args: argparse.Namespace) -> None:
    environment = [line for line in collect_env_info().splitlines() if not line.startswith(UNUSED_OPERATORS)]
    logger.info("Environment:\n%s", "\n".join(environment))
    logger.info("World size: %d", comm.get_world_size())
    logger.info("Command line arguments: %s", args)
    logger.info("Config:\n%s", cfg.dump())
    action = "Evaluating" if args.eval_only else "Training"
    show(
        "%s %s in %s; the whole log is %s",
        action,
        args.model or args.config_file,
        cfg.OUTPUT_DIR,
        Path(cfg.OUTPUT_DIR, "log.txt"),
    )


def seed_run(cfg: CfgNode, *, benchmark: bool) -> None:
    """Seed the generators of this process by SEED, and let cuDNN search algorithms if `benchmark`."""
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + comm.get_rank())
    if benchmark:
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK


def show_result(cfg: CfgNode, results: Mapping[str, Any] | None, *, trained: bool) -> None:
    """Show what was reached, where it lies and the next command."""
    folder = Path(cfg.OUTPUT_DIR)
    for name, metrics in _metrics_by_name(results or {}):
        if "mIoU" in metrics:
            show("%s: mIoU %.2f, mACC %.2f, pACC %.2f", name, metrics["mIoU"], metrics["mACC"], metrics["pACC"])
    # Several test sets have a folder each.
    evaluated = [
        str(Path(part, name)) for part in ("", *(results or {})) for name in ("sem_seg_evaluation.json", "predictions")
    ]
    for name in (MODEL_FOLDER, "model_best.pth", "model_final.pth", *evaluated, "metrics.json", "config.yaml"):
        if (folder / name).exists():
            show("  %s", folder / name)
    if trained:
        show("%s", next_command(folder / MODEL_FOLDER, demo=Path(sys.argv[0]).parent / "demo" / "demo.py"))


def next_command(model: Path, *, demo: Path) -> str:
    """A line with the command that segments images with a run's model folder."""
    command = shlex.join(["python", str(demo), "--model", str(model)])
    return f"Segment images: {command} --input IMAGE --output FOLDER"


def _metrics_by_name(results: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Tasks and their metrics; with several test sets the results have one more level, and their names come first."""
    for name, metrics in results.items():
        if any(isinstance(value, Mapping) for value in metrics.values()):
            yield from ((f"{name}, {task}", values) for task, values in metrics.items())
        else:
            yield name, metrics
