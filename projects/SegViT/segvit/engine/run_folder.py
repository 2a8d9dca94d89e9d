"""The output folder of one run: a lock, the refusal of a second run, and config.yaml, which is written once."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode

from segvit.checkpoint.checkpointer import has_checkpoint
from segvit.errors import UserError
from segvit.model_folder.files import MODEL_FOLDER
from segvit.output_files import atomic_write_text
from segvit.tracking.event_writer import RECORD

logger = logging.getLogger(__name__)

LOCK = ".lock"
CONFIG = "config.yaml"
# What an evaluation writes.
EVALUATION_FILES = ("sem_seg_evaluation.json", "predictions", "tta")
# What a run writes, as patterns: --overwrite deletes these and nothing else.
FILES = (
    CONFIG,
    "metrics.json",
    "events.out.tfevents.*",
    "last_checkpoint",
    "model_*.pth",
    MODEL_FOLDER,
    ".*.unfinished*",
    f".{MODEL_FOLDER}[.-]*",
    "log.txt*",
    *EVALUATION_FILES,
    "non_finite",
    "class_weights.json",
    RECORD,
)


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of an output folder, creating the folder; a process that dies releases it.

    Raises:
        UserError: another process holds the lock.
    """
    path = Path(folder, LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise UserError(
                f"OUTPUT_DIR {str(folder)!r} is in use by {file.read().strip() or 'another process'}: wait for its end "
                "or choose another OUTPUT_DIR"
            ) from error
        except OSError as error:  # some network file systems have no locks
            logger.warning("%s cannot be locked (%s): start no second run there", path, error.strerror)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def require_own_folder(folder: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Check that no run has trained in the folder, unless its files may be overwritten.

    A run that ended before its first checkpoint and its first line of metrics has not trained.

    Raises:
        UserError: a run has, with the remedy.
    """
    if has_trained(folder) and not overwrite:
        raise UserError(
            f"OUTPUT_DIR {str(folder)!r} holds another run: continue it with --resume, choose another OUTPUT_DIR, or "
            "start anew with --overwrite, which deletes its checkpoints, metrics and predictions"
        )


def has_trained(folder: str | os.PathLike[str]) -> bool:
    """Whether a run has left checkpoints or metrics in the folder."""
    metrics = Path(folder, "metrics.json")  # opened, and left empty, by a run that fails at its first batch
    return has_checkpoint(Path(folder)) or (metrics.is_file() and metrics.stat().st_size > 0)


def clear(folder: str | os.PathLike[str]) -> list[str]:
    """Delete the files that a run writes. Returns their names; other files stay."""
    return delete(_files(folder))


def _files(folder: str | os.PathLike[str]) -> list[Path]:
    return sorted({path for pattern in FILES for path in Path(folder).glob(pattern)})


def require_kept_weights(cfg: CfgNode) -> None:
    """Raise UserError if a start anew would delete MODEL.WEIGHTS, with which the run begins."""
    if not cfg.MODEL.WEIGHTS:
        return
    weights = Path(cfg.MODEL.WEIGHTS).resolve()
    deleted = [path.resolve() for path in _files(cfg.OUTPUT_DIR)]
    if any(weights.is_relative_to(path) for path in deleted):
        raise UserError(
            f"--overwrite would delete MODEL.WEIGHTS {cfg.MODEL.WEIGHTS}, with which the run begins: choose another "
            "OUTPUT_DIR"
        )


def delete(paths: Iterable[Path]) -> list[str]:
    """Delete files, and folders with what they hold. Returns their names."""
    deleted = []
    for path in paths:
        deleted.append(path.name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return deleted


def require_own_weights(cfg: CfgNode) -> None:
    """Check that an evaluation in the folder of a run is one of its checkpoints: its results replace those of the run.

    Raises:
        UserError: MODEL.WEIGHTS is of another run, with the remedy.
    """
    folder, weights = Path(cfg.OUTPUT_DIR).resolve(), Path(cfg.MODEL.WEIGHTS).resolve()
    # A step of a continual run has its checkpoint beside its folder.
    own = weights.is_relative_to(folder) or weights == folder.with_name(f"{folder.name}.pth")
    if has_trained(folder) and not own:
        raise UserError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR!r} holds a run, whose results the evaluation of another checkpoint, "
            f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS!r}, would replace: choose another OUTPUT_DIR"
        )


def clear_evaluation(cfg: CfgNode) -> list[str]:
    """Delete what an earlier evaluation wrote into OUTPUT_DIR, so that predictions of two do not mix. Returns names."""
    folders = [Path(cfg.OUTPUT_DIR), *(Path(cfg.OUTPUT_DIR, name) for name in cfg.DATASETS.TEST)]
    return delete(path for folder in folders for name in EVALUATION_FILES if (path := folder / name).exists())


def write_config(cfg: CfgNode) -> None:
    """Write OUTPUT_DIR/config.yaml at the start of a run; a resumed run and an evaluation leave it as it is."""
    atomic_write_text(Path(cfg.OUTPUT_DIR, CONFIG), cfg.dump())
