"""`load_newest`: resume from the newest readable checkpoint of a folder."""

from __future__ import annotations

import logging
from pathlib import Path

from detectron2.utils import comm

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.errors import UserError
from segvit.modeling.weights.weight_files import DamagedFile

logger = logging.getLogger(__name__)


def load_newest(checkpointer: SegViTCheckpointer) -> None:
    """Load the checkpoint that `last_checkpoint` names, or the newest other one, with a warning, if it is damaged.

    All processes load the same file.

    Raises:
        UserError: no checkpoint of the folder can be read, or one does not fit the model.
    """
    folder = Path(checkpointer.save_dir)
    named = checkpointer.get_checkpoint_file()
    others = [path for path in folder.glob("model_*.pth") if str(path) != named]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    reasons = [] if named else [f"{folder / 'last_checkpoint'} does not name a checkpoint"]
    for path in [*([Path(named)] if named else []), *others]:
        try:
            checkpointer.load(str(path))
            error = ""
        except (DamagedFile, FileNotFoundError) as damage:
            error = str(damage)
        errors = [message for message in comm.all_gather(error) if message]
        if not errors:
            if reasons:
                logger.warning("%s\nResuming from %s instead; damaged files can be deleted", "\n".join(reasons), path)
            return
        reasons.append(errors[0])
    raise UserError(
        f"no checkpoint in {checkpointer.save_dir} can be read: {'; '.join(reasons)}. Restore one, or start again "
        "without --resume"
    )
