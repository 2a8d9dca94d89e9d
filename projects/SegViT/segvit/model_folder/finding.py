"""`find_model`: the model folder that a name means: a folder, a run's OUTPUT_DIR, or a repository on a hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from segvit.config.loading import find_config
from segvit.errors import UserError, listed
from segvit.model_folder.files import CONFIG, FILES, MODEL_FOLDER, WEIGHTS, is_model_folder
from segvit.model_folder.replacement import moved_away

# Files of weights, which lack a config or its defaults.
CHECKPOINTS = (".pth", ".safetensors")
# How many model folders a message lists.
MOST_NAMED = 4


def find_model(name: str | os.PathLike[str], **hub_options: Any) -> Path:
    """The model folder of a name.

    Args:
        name: a model folder, the OUTPUT_DIR of a run that has written one, or "user/name" on a hub.
        **hub_options: see `huggingface_hub.snapshot_download`.

    Raises:
        UserError: the name means none of them, with the remedy.
        OSError: the repository cannot be downloaded.
    """
    path = Path(name).expanduser()
    if path.exists():
        if hub_options.get("revision"):
            raise UserError(f"{path} is a folder here, without a revision {hub_options['revision']}: leave it out")
        return _local_folder(path)
    text = os.fspath(name)
    for old in moved_away(path.resolve()):
        raise UserError(f"{text}: a save of this model folder was interrupted; the model before it is {old}: rename it")
    if _is_config(text):
        raise UserError(
            f"{text} is a config without trained weights: train it (train_net.py, segvit.create_model), and name the "
            "model folder"
        )
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise UserError(f"{text} is neither a model folder nor the name of a hub repository, such as user/name")
    try:
        return Path(snapshot_download(text, allow_patterns=list(FILES), **hub_options))
    except OSError as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise OSError(f"{text} is no folder here, and cannot be read from the hub: {reason}") from error


def holds_model(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a model folder, or the OUTPUT_DIR of a run that has written one."""
    return is_model_folder(path) or is_model_folder(Path(path, MODEL_FOLDER))


def _is_config(name: str) -> bool:
    try:
        return bool(find_config(name))
    except UserError:
        return False


def _local_folder(path: Path) -> Path:
    if holds_model(path):
        return path if is_model_folder(path) else path / MODEL_FOLDER
    if path.is_file() and is_model_folder(path.parent):
        raise UserError(f"{path} is a file of the model folder {path.parent}: name the folder")
    checkpoints = [path] if path.suffix == ".pth" else sorted(path.glob("model_*.pth"), reverse=True)
    if checkpoints:
        best = next((file for file in checkpoints if file.name == "model_best.pth"), checkpoints[0])
        raise UserError(
            f"{path} is no model folder: pack its checkpoint by pack_model.py {best} --output FOLDER --config-file FILE"
        )
    inside = sorted(folder.parent for folder in path.glob(f"**/{WEIGHTS}") if is_model_folder(folder.parent))
    if inside:
        raise UserError(f"{path} is no model folder, but holds some: {listed(inside, MOST_NAMED)}")
    missing = [name for name in (CONFIG, WEIGHTS) if not (path / name).is_file()]
    raise UserError(f"{path} is no model folder: it has no {' and no '.join(missing)}")
