"""The output folder of `train_continual.py`: what it refuses to replace, and the files that a start anew deletes."""

from __future__ import annotations

from pathlib import Path

from detectron2.config import CfgNode

from segvit.continual.run import METHODS, PATHS
from segvit.continual.step_result import RESULT
from segvit.engine.run_folder import CONFIG, clear, delete, has_trained
from segvit.errors import UserError
from segvit.experiments.cached_run import lock_config
from segvit.model_folder.files import MODEL_FOLDER
from segvit.output_files import atomic_write_text, sha256_of

# Which weights the run begins with.
WEIGHTS = "weights.sha256"
# What the command writes beside the folders of the methods, as patterns.
FILES = (CONFIG, WEIGHTS, "log.txt*", "report.json", "report.txt", "report.png", MODEL_FOLDER, f".{MODEL_FOLDER}[.-]*")
# What a step writes into its folder beside the files of a run.
STEP_FILES = (RESULT, "group*_alone")
OTHER_OUTPUT = "choose another --output"
REMEDY = f"{OTHER_OUTPUT}, or start anew with --overwrite, which deletes its steps and reports"


def check_output_folder(cfg: CfgNode, *, overwrite: bool) -> None:
    """Raise UserError if OUTPUT_DIR is that of another command, or a start anew would delete the weights it needs."""
    folder, weights = Path(cfg.OUTPUT_DIR), cfg.MODEL.WEIGHTS
    if has_trained(folder):
        raise UserError(f"OUTPUT_DIR {str(folder)!r} holds a run of train_net.py: choose another --output")
    is_own = any((folder / name).exists() for name in (WEIGHTS, *METHODS))
    if not overwrite:
        if not is_own and (folder / MODEL_FOLDER).exists():
            raise UserError(f"{folder / MODEL_FOLDER} is of no run of train_continual.py: choose another --output")
        return
    if weights and Path(weights).resolve().is_relative_to(folder.resolve()):
        raise UserError(f"--overwrite would delete {weights}, which the run begins with: choose another --output")
    found = [path.name for pattern in FILES for path in sorted(folder.glob(pattern))]
    if found and not is_own:
        raise UserError(
            f"OUTPUT_DIR {str(folder)!r} holds {', '.join(found)}, but no run of train_continual.py that --overwrite "
            "could delete: choose another --output"
        )


def make_own(cfg: CfgNode, *, overwrite: bool, trains: bool = True) -> list[str]:
    """Make OUTPUT_DIR that of the run of this config; returns the names of deleted files.

    Raises:
        UserError: it has the config of another run, or one that began with other weights, and may not be overwritten.
    """
    folder = Path(cfg.OUTPUT_DIR)
    deleted = clear_steps(folder) if overwrite else []
    remedy = REMEDY if trains else OTHER_OUTPUT
    lock_config(cfg, folder, remedy=remedy, ignored=PATHS)
    lock_weights(cfg.MODEL.WEIGHTS, folder, remedy=remedy)
    return deleted


def lock_weights(weights: str, folder: Path, *, remedy: str = REMEDY) -> None:
    """Write a checksum of the weights into the folder. Raises UserError if it has that of others."""
    # What is no file, such as a name or nothing, stands for itself.
    identity = sha256_of(Path(weights)) if Path(weights).is_file() else weights
    record = folder / WEIGHTS
    if record.is_file() and record.read_text(encoding="utf-8").strip() != identity:
        named = f"MODEL.WEIGHTS {weights!r}"
        raise UserError(f"{named} is not the model that the run in {folder} began with: {remedy}")
    atomic_write_text(record, f"{identity}\n")


def clear_steps(folder: Path) -> list[str]:
    """Delete what the command writes into a folder, and nothing else. Returns the names."""
    deleted = delete(path for pattern in FILES for path in sorted(folder.glob(pattern)))
    for method in METHODS:
        steps = [path for path in sorted(folder.glob(f"{method}/step_*")) if path.is_dir()]
        for step in steps:
            deleted += clear(step) + delete(path for pattern in STEP_FILES for path in sorted(step.glob(pattern)))
        deleted += delete([*sorted(folder.glob(f"{method}/step_*.pth")), *folder.glob(f"{method}/last_checkpoint")])
        for emptied in (*steps, folder / method):
            if emptied.is_dir() and not any(emptied.iterdir()):
                emptied.rmdir()
    return deleted
