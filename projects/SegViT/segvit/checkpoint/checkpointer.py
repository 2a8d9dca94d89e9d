"""`SegViTCheckpointer`: safe, atomic checkpoints that load completely or say what does not fit.

Shape shorthand: K classes, D decoder width.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from timm.models import clean_state_dict
from torch import nn

from segvit.checkpoint.positions import grid_hint, resized_positions
from segvit.checkpoint.run_record import RunRecord
from segvit.errors import UserError
from segvit.modeling.decoder.detail import new_detail_tensors
from segvit.modeling.losses.encoder_loss import TENSOR as TRAINING_TENSOR
from segvit.modeling.weights.weight_files import code_error, read_weight_file, require_content, require_finite
from segvit.modeling.weights.weight_match import ShapeConflict, compare_weights
from segvit.output_files import atomic_write, atomic_write_text, remove_unfinished

logger = logging.getLogger(__name__)

# Tensors whose first dimension counts classes: the queries (K, D), the classifier's (K + 1, D) and (K + 1,), and those
# of the encoder's loss (K, C) and (K,).
CLASS_TENSOR = re.compile(r"(^|\.)class_(queries|embed)\.(weight|bias)$|^encoder_loss\.classifier\.(weight|bias)$")

# Part of the names of what a token reduction learns: its edge head, and how it makes the tokens of cells.
OF_REDUCTION = "encoder.reduction."

# Fraction of the tensors that do not depend on the classes, which MODEL.WEIGHTS must contain in training.
MIN_MATCH = 0.95


class SegViTCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, with files that are read without running code and written atomically.

    Args:
        model: see `DetectionCheckpointer`.
        save_dir: see `DetectionCheckpointer`.
        strict: every tensor must fit, as evaluation requires. False, for training from MODEL.WEIGHTS: tensors that
            depend on the classes keep their initial values, with a warning, if the number of classes differs; a detail
            branch, the encoder's loss, a token reduction and up to 5 % of the others may be missing; any other
            difference in shape is an error. Resuming is always strict.
        new_tensors: if `strict` is False, a prefix of names: these tensors, which continual segmentation adds in this
            step, may be missing. All others, which are frozen, must fit.
        run: saved in every checkpoint, and compared with the one of each checkpoint that is loaded.
        **checkpointables: see `DetectionCheckpointer`.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        strict: bool = True,
        new_tensors: str = "",
        run: RunRecord | None = None,
        **checkpointables: Any,
    ) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.strict = strict
        self.new_tensors = new_tensors
        self.run = run
        self._resumes = False
        self._must_be_exact = strict
        self._path = ""

    def save(self, name: str, **extra: Any) -> None:
        """Write `save_dir/<name>.pth` and write its name into `last_checkpoint`; see `DetectionCheckpointer.save`.

        Raises:
            OSError: naming the file: the disk is full or not writable.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        stateful = {"model": self.model, **self.checkpointables}
        content = {key: value.state_dict() for key, value in stateful.items()}
        if self.run is not None:
            content |= self.run.content()
        path = Path(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        remove_unfinished(path.parent, suffix=".pth")
        with atomic_write(path, sync=True) as temporary:
            torch.save({**content, **extra}, temporary)
        self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write the name of the newest checkpoint, from which a run resumes, into `save_dir/last_checkpoint`."""
        atomic_write_text(Path(self.save_dir, "last_checkpoint"), last_filename_basename, sync=True)

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a checkpoint; see `DetectionCheckpointer.load`.

        Raises:
            UserError: the file is damaged, contains code or does not fit the model; or `strict` is set and `path` is
                empty.
        """
        if self.strict:
            require_weights(path, evaluates=True)
        elif path and "://" not in path:
            require_content(path)
        self._resumes = checkpointables is None and bool(self.checkpointables)
        self._must_be_exact = self.strict or self._resumes
        self._path = path
        try:
            return super().load(path, checkpointables)
        finally:
            self._parsed_url_during_load = None  # Detectron2 does not reset it if loading fails

    def has_checkpoint(self) -> bool:
        """Whether the folder holds a checkpoint, named by last_checkpoint or not."""
        return has_checkpoint(self.save_dir)

    def get_checkpoint_file(self) -> str:
        """The file that last_checkpoint names; "" if last_checkpoint is missing or is not a line of text."""
        tag = Path(self.save_dir, "last_checkpoint")
        try:
            name = tag.read_bytes().decode().strip() if tag.is_file() else ""
        except UnicodeDecodeError:
            name = ""
        return str(Path(self.save_dir, name)) if name.isprintable() and name else ""

    def _load_file(self, filename: str) -> dict[str, Any]:
        if filename.endswith((".pkl", ".pyth")):
            raise code_error(filename)
        loaded = super()._load_file(filename)
        others = [str(name) for name, value in loaded["model"].items() if not isinstance(value, torch.Tensor)]
        if others or not loaded["model"]:
            raise UserError(
                f"{filename} is not a checkpoint of this project: in place of tensors it has {others or 'nothing'}. "
                "tools/convert_official_checkpoint.py converts those of the official release"
            )
        return {**loaded, "model": clean_state_dict(loaded["model"])}

    def _torch_load(self, filename: str) -> dict[str, Any]:
        return read_weight_file(filename)

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        require_finite(checkpoint["model"], self._path)
        if self.run is not None and self._resumes:
            self.run.require_resumable(checkpoint, self._path)
        elif self.run is not None:
            self.run.require_class_order(checkpoint, self._path, same=self.strict)
        if not self._resumes:
            checkpoint["model"] = resized_positions(self.model, checkpoint, self._path)
        initial = self._compare(checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        # The comparison has logged what does not fit; Detectron2 would log each tensor again.
        incompatible.incorrect_shapes.clear()
        for names in (incompatible.unexpected_keys, incompatible.missing_keys):
            names[:] = [name for name in names if name not in initial and not TRAINING_TENSOR.search(name)]
        return incompatible

    def require_fit(self, checkpoint: dict[str, Any], path: str) -> None:
        """Check, by names and shapes, what a file will hold that is not written yet. Raises UserError if it differs."""
        self._path = path
        if self.run is not None:
            self.run.require_class_order(checkpoint, path, same=self.strict)
        self._compare(resized_positions(self.model, checkpoint, path))

    def _compare(self, weights: dict[str, torch.Tensor]) -> set[str]:
        """Log how weights fit the model. Returns the names of the tensors that may keep initial values.

        Raises:
            UserError: they do not fit.
        """
        # Tensors that may be missing silently: those of a new group and, unless a run resumes, those of losses.
        tensors = self.model.state_dict()
        adds_group = bool(self.new_tensors) and not self._must_be_exact
        initial = {name for name in tensors if adds_group and name.startswith(self.new_tensors)}
        if not self._resumes:
            initial |= {name for name in tensors if TRAINING_TENSOR.search(name) and name not in weights}
        expected = {name: value for name, value in tensors.items() if name not in initial}
        match = compare_weights(expected, weights, ignored=None if self._resumes else TRAINING_TENSOR)

        # Refuse other shapes, unless they follow from another number of classes, and too many missing tensors.
        of_classes = [conflict for conflict in match.conflicts if _depends_on_classes(conflict)]
        described = "\n  ".join([*_class_counts(of_classes), match.describe()])
        if not match.matched:
            raise UserError(f"{self._path} fits no tensor of the model (encoders alone: MODEL.VIT.PRETRAINED)")
        if len(of_classes) < len(match.conflicts) or ((self._must_be_exact or adds_group) and not match.is_exact):
            hint = grid_hint([conflict.name for conflict in match.conflicts])
            raise UserError(f"{self._path} does not fit the model: {described}{hint}")
        require_learnt_reduction(self.model, match.missing, self._path)
        detail = new_detail_tensors(match.missing, weights)
        optional = {*detail, *(name for name in match.missing if CLASS_TENSOR.search(name) or OF_REDUCTION in name)}
        if len(set(match.missing) - optional) > (1 - MIN_MATCH) * len(tensors):
            raise UserError(
                f"{self._path} contains too little of the model (encoders alone: MODEL.VIT.PRETRAINED): {described}"
            )

        # Say what fits, and what keeps initial values.
        logger.log(
            logging.WARNING if of_classes else logging.INFO,
            "Checkpoint %s: %s%s",
            self._path,
            described,
            "\n  The tensors of another shape depend on the classes; they keep initial values." if of_classes else "",
        )
        if detail:
            logger.info("MODEL.SEGVIT.DETAIL is new: the model starts as the one of the checkpoint, without detail")
        return {*initial, *detail, *(conflict.name for conflict in of_classes)}


def require_learnt_reduction(model: nn.Module, missing: Iterable[str], path: str) -> None:
    """Raise UserError if weights, "" for none, lack what a token reduction learns and the model does not train it."""
    missing = set(missing)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if any(OF_REDUCTION in name for name in frozen & missing):
        raise UserError(
            f"{path or 'a model without MODEL.WEIGHTS'} has nothing of a token reduction, which a frozen encoder does "
            "not learn: train it first without MODEL.VIT.FROZEN, or set MODEL.VIT.REDUCTION none"
        )


def has_checkpoint(folder: str | Path) -> bool:
    """Whether a folder holds a checkpoint, named by last_checkpoint or not."""
    return Path(folder, "last_checkpoint").is_file() or any(Path(folder).glob("model_*.pth"))


def require_weights(path: str, *, evaluates: bool) -> None:
    """Check MODEL.WEIGHTS. It may be empty in training.

    Raises:
        UserError: it is empty and the model is evaluated, or it is not a file with content.
    """
    if not path and evaluates:
        raise UserError("MODEL.WEIGHTS is empty: name the checkpoint to evaluate")
    if path and "://" not in path:
        require_content(path, origin="MODEL.WEIGHTS: ")


def _depends_on_classes(conflict: ShapeConflict) -> bool:
    return bool(CLASS_TENSOR.search(conflict.name)) and conflict.in_weights[1:] == conflict.in_model[1:]


def _class_counts(conflicts: list[ShapeConflict]) -> list[str]:
    """A line with both numbers of classes, if the class queries differ in shape."""
    return [
        f"NUM_CLASSES {conflict.in_weights[0]} in the file, {conflict.in_model[0]} in the config"
        for conflict in conflicts
        if "class_queries" in conflict.name
    ]
