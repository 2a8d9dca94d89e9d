"""Go on from the newest checkpoint of a folder that can be read."""

from __future__ import annotations

import logging
from pathlib import Path

from detectron2.utils import comm

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.errors import UserError
from segvit.modeling.weights.weight_files import DamagedFile

logger = logging.getLogger(__name__)


def load_newest(checkpointer: SegViTCheckpointer) -> dict[str, object]:
    """Load the file that last_checkpoint names, or, where it is damaged or gone, the newest other one, with a warning.

    All processes load the same file.

    Returns:
        What the file holds beside the checkpointables, see `SegViTCheckpointer.load`.

    Raises:
        UserError: where no checkpoint of the folder can be read, or one does not fit the model.
    """
    folder, named = Path(checkpointer.save_dir), checkpointer.get_checkpoint_file()
    others = [path for path in folder.glob("model_*.pth") if str(path) != named]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    reasons = [] if named else [f"{folder / 'last_checkpoint'} does not name a checkpoint"]
    for path in [*([Path(named)] if named else []), *others]:
        try:
            rest, error = checkpointer.load(str(path)), None
        except (DamagedFile, FileNotFoundError) as damage:
            rest, error = {}, damage
        errors = [found for found in comm.all_gather(error and str(error)) if found]
        if not errors:
            if reasons:
                logger.warning("%s\nResuming from %s instead; what is damaged can be deleted", "\n".join(reasons), path)
            return rest
        reasons.append(errors[0])
    raise UserError(
        f"no checkpoint in {checkpointer.save_dir} can be read: {'; '.join(reasons)}. Bring one back, or start anew "
        "without --resume"
    )
