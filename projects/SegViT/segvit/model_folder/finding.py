"""`find_model`: the model folder that a name means: a folder, a run's OUTPUT_DIR, or a repository on a hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from segvit.errors import UserError
from segvit.model_folder.files import CARD, CLASSES, CONFIG, METRICS, MODEL_FOLDER, WEIGHTS, is_model_folder

# The files of a hub repository that are downloaded.
FILES = [CONFIG, WEIGHTS, CLASSES, METRICS, CARD]
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
        return _local_folder(path)
    text = os.fspath(name)
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise UserError(f"{text} is neither a model folder nor the name of a hub repository, such as user/name")
    return Path(snapshot_download(text, allow_patterns=FILES, **hub_options))


def _local_folder(path: Path) -> Path:
    for folder in (path, path / MODEL_FOLDER):
        if is_model_folder(folder):
            return folder
    checkpoints = [path] if path.suffix == ".pth" else sorted(path.glob("model_*.pth"), reverse=True)
    if checkpoints:
        best = next((file for file in checkpoints if file.name == "model_best.pth"), checkpoints[0])
        raise UserError(
            f"{path} is no model folder: pack its checkpoint by pack_model.py {best} --output FOLDER --config-file FILE"
        )
    inside = sorted(folder.parent for folder in path.glob(f"**/{WEIGHTS}") if is_model_folder(folder.parent))
    if inside:
        names = ", ".join(map(str, inside[:MOST_NAMED])) + (", ..." if len(inside) > MOST_NAMED else "")
        raise UserError(f"{path} is no model folder, but holds some: {names}")
    missing = [name for name in (CONFIG, WEIGHTS) if not (path / name).is_file()]
    raise UserError(f"{path} is no model folder: it has no {' and no '.join(missing)}")
