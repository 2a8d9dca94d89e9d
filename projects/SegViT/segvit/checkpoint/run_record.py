"""`RunRecord`: the config and class names that a checkpoint carries, so that resuming can compare them with its own.

A key that differs takes effect or is refused with both values; none is ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from detectron2.config import CfgNode

from segvit.config.continual_step import continual_step, fitting_classes
from segvit.config.unread_keys import flat
from segvit.errors import UserError

logger = logging.getLogger(__name__)

# Keys that say where and how a run computes, not what: a checkpoint does not hold them.
NOT_RECORDED = ("OUTPUT_DIR", "DATALOADER.NUM_WORKERS", "MODEL.DEVICE")
# Keys that may change when a run resumes, as shell patterns; the config of the resumed run takes effect. Exceptions
# from the patterns follow in `FIXED`.
MAY_CHANGE = (
    # The optimizer, its schedule and the periods; learning rates and weight decay are set anew for every parameter.
    "SOLVER.*",
    # Augmentation of training images, from the next batch on.
    "INPUT.MIN_SIZE_TRAIN*",
    "INPUT.MAX_SIZE_TRAIN",
    "INPUT.RESIZE_RATIO_*",
    "INPUT.CROP.*",
    "INPUT.PHOTOMETRIC_STRENGTH",
    "INPUT.GAMMA_RANGE",
    "INPUT.WHITE_BALANCE",
    "INPUT.BLUR_SIGMA",
    "INPUT.RANDOM_FLIP",
    # Regularization, weights of losses, and how the same function is computed.
    "MODEL.VIT.DROP_PATH_RATE",
    "MODEL.VIT.GRADIENT_CHECKPOINTING",
    "MODEL.VIT.FUSED_ATTENTION",
    "MODEL.COMPILE*",
    "MODEL.VIT.PRETRAINED_MIN_MATCH",
    "MODEL.SEGVIT.DROPOUT",
    "MODEL.SEGVIT.*_WEIGHT",
    "MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS",
    "MODEL.SEGVIT.MASK_LOSS_STRIDE",
    # When evaluations happen, and what they write. What changes the mIoU itself would make the best one meaningless.
    "TEST.EVAL_PERIOD",
    "TEST.SAVE_PREDICTIONS",
    "TEST.BOUNDARY_IOU",
    "TEST.LABELS_ONLY",
    "TEST.WINDOW.BATCH_SIZE",
    "TEST.WINDOW.ACCUMULATE_ON_CPU",
    "TEST.AUG.*",
    "TRACKING.*",
    "CUDNN_BENCHMARK",
    "VERSION",
)
# The position in the data is counted in batches, and the average is part of the state.
FIXED = ("SOLVER.IMS_PER_BATCH", "SOLVER.REFERENCE_WORLD_SIZE", "SOLVER.EMA.ENABLED")
# The weight of a loss with parameters of its own, which 0 takes away: it may have another value, but not go on or off.
SWITCH = "MODEL.SEGVIT.ENCODER_WEIGHT"


@dataclass(frozen=True)
class RunRecord:
    """What identifies a run.

    Attributes:
        config: dotted key -> value, without `NOT_RECORDED`; plain numbers, strings and lists.
        classes: the class names by id; empty if the dataset has none.
        groups: the class ids that each step of continual segmentation has learnt, in the order of the queries; empty
            for other models.
        compares_ids: whether a checkpoint must have the same names by id; False if only the names in each group count.
    """

    config: Mapping[str, Any]
    classes: Sequence[str]
    groups: Sequence[Sequence[int]] = ()
    compares_ids: bool = True

    @classmethod
    def of(cls, cfg: CfgNode, *, datasets: Sequence[str] = ()) -> RunRecord:
        """The record of a config; class names are those of the first of `datasets` that has as many as the model.

        By default these are the datasets of DATASETS.TRAIN.
        """
        config = {key: value for key, value in flat(cfg).items() if key not in NOT_RECORDED}
        step = continual_step(cfg)
        has_groups = step is not None and cfg.MODEL.SEM_SEG_HEAD.NAME == "ContinualHead"
        groups = [list(group) for group in step.known_groups] if step is not None and has_groups else []
        if step is not None and step.class_names:
            return cls(config, list(step.class_names), groups)
        names = fitting_classes(datasets or cfg.DATASETS.TRAIN, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
        return cls(config, names, groups)

    @classmethod
    def for_prediction(cls, cfg: CfgNode) -> RunRecord:
        """The record that a checkpoint is compared with in prediction; class names may be those of a test set."""
        return cls.of(cfg, datasets=(*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN))

    def content(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        content = {"config": dict(self.config), "classes": list(self.classes)}
        return {**content, "groups": [list(group) for group in self.groups]} if self.groups else content

    def require_class_order(self, checkpoint: Mapping[str, Any], path: str, *, same: bool) -> None:
        """Compare class names with those of a checkpoint, and the groups of continual segmentation.

        Raises:
            UserError: the checkpoint has the same names in another order; with `same`, also if it has other names; its
                groups are not the first ones of this run, or more than the newest one is missing.
        """
        saved = list(checkpoint.get("classes", ()))
        if self.compares_ids and saved and self.classes and saved != list(self.classes):
            differing = [(index, *pair) for index, pair in enumerate(zip(saved, self.classes)) if pair[0] != pair[1]]
            pairs = ", ".join(f"id {index} is {old!r} there and {new!r} here" for index, old, new in differing[:5])
            if same or sorted(saved) == sorted(self.classes):
                raise UserError(
                    f"{path} was trained with other class names than the dataset has: "
                    f"{pairs or f'{len(saved)} there, {len(self.classes)} here'}. Bring the list of classes "
                    "(classes.txt) into the order of the training"
                )
            logger.warning("%s was trained with other class names: %s", path, pairs or f"{len(saved)} of them")
        self._require_groups(saved, checkpoint.get("groups", ()), path)

    def _require_groups(self, classes: Sequence[str], groups: Sequence[Sequence[int]], path: str) -> None:
        """Compare the groups of a checkpoint, by name if it has `classes`. Raises UserError."""
        if not groups or not self.groups:
            return
        if len(groups) < len(self.groups) - 1:
            raise UserError(
                f"{path} is the model of step {len(groups) - 1}, and step {len(self.groups) - 1} begins with that of "
                f"step {len(self.groups) - 2}: train the steps in order"
            )
        by_name = bool(classes) and bool(self.classes)
        for index, (there, here) in enumerate(zip(groups, self.groups)):
            learnt = [classes[class_id] if by_name else str(class_id) for class_id in there]
            own = [self.classes[class_id] if by_name else str(class_id) for class_id in here]
            if learnt != own:
                raise UserError(
                    f"{path} learnt {', '.join(learnt)} in step {index}, in this order, and the config has "
                    f"{', '.join(own)} there. Set PROTOCOL, CLASS_ORDER or GROUPS of MODEL.SEGVIT.CONTINUAL as in its "
                    "training"
                )

    def require_resumable(self, checkpoint: Mapping[str, Any], path: str) -> None:
        """Check that this run can continue from a checkpoint; log the changed keys that take effect.

        Raises:
            UserError: the checkpoint has no optimizer state, has passed SOLVER.MAX_ITER, or differs in keys that cannot
                change.
        """
        trainer = checkpoint.get("trainer", {})
        if not trainer.get("_trainer", {}).get("optimizer", {}).get("state"):
            raise UserError(
                f"{path} holds no state of the optimizer, so a run cannot resume from it. To start a new run from its "
                "weights, name it by MODEL.WEIGHTS without --resume"
            )
        self.require_class_order(checkpoint, path, same=True)
        saved = checkpoint.get("config")
        if saved is None:
            logger.warning("%s is of an older version and holds no config: changed keys cannot be found", path)
            saved = {}
        changed = {
            key: (saved[key], value) for key, value in self.config.items() if key in saved and saved[key] != value
        }
        refused = [
            f"{key}: {old!r} there, {new!r} now"
            for key, (old, new) in changed.items()
            if not may_change(key) or (key == SWITCH and bool(old) != bool(new))
        ]
        if refused:
            raise UserError(
                f"{path} belongs to a run with other values of keys that cannot change when it resumes:\n  "
                + "\n  ".join(refused)
                + "\nTo --resume, set them as they were; for a new run, choose another OUTPUT_DIR"
            )
        done, limit = trainer["iteration"] + 1, self.config["SOLVER.MAX_ITER"]
        if done > limit:
            raise UserError(
                f"{path} was saved after {done} iterations, more than SOLVER.MAX_ITER {limit}: raise the key to "
                "--resume, or choose another OUTPUT_DIR"
            )
        for key, (old, new) in changed.items():
            logger.warning("Resuming with %s %r in place of %r", key, new, old)


def may_change(key: str) -> bool:
    """Whether a resumed run may have another value of this key."""
    return key not in FIXED and any(fnmatchcase(key, pattern) for pattern in MAY_CHANGE)
