"""The step of continual segmentation that a config describes: MODEL.SEGVIT.CONTINUAL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from segvit.errors import UserError
from segvit.modeling.continual.class_groups import (
    ClassGroups,
    class_ids,
    protocol_sizes,
    require_disjoint,
    split_into_groups,
)

KEY = "MODEL.SEGVIT.CONTINUAL"
# In CONTINUAL.CLASSES, an entry that stands for all classes of a registered data set.
DATA_SET_PREFIX = "dataset:"


@dataclass(frozen=True)
class ContinualStep:
    """One step: which classes are learnt now, and which were before.

    Attributes:
        index: of the step, from 0.
        groups: the class ids of every step of the protocol, later ones included.
        num_classes: K, those of all groups and of none.
        class_names: K names by class id, or none where ids are all there is.
        selection: "overlapped" or "disjoint", see `select_records`.
        iterations: SOLVER.MAX_ITER of each step; empty for the same in all.
        in_features: the stages that later groups read; empty for the first group's.
        query_upsampling: what restores the grid for later groups; empty for what does it for the first.
        shares_decoder: whether later groups ask the first one's decoder (`AddedQueries`).
        competition_weight: of the loss that lets a new group compete with the older ones (`CrossGroupLoss`).
        calibration: how the new group's factor is chosen behind its training, "none" or "bias".
    """

    index: int
    groups: ClassGroups
    num_classes: int
    class_names: tuple[str, ...]
    selection: str
    iterations: tuple[int, ...]
    in_features: tuple[str, ...]
    query_upsampling: str
    shares_decoder: bool
    competition_weight: float
    calibration: str

    @property
    def new_classes(self) -> tuple[int, ...]:
        """The ids that this step learns."""
        return self.groups[self.index]

    @property
    def known_groups(self) -> ClassGroups:
        """The groups learnt up to this step."""
        return self.groups[: self.index + 1]

    @property
    def background(self) -> int:
        """The label of pixels of all other classes, in training: one past the last class."""
        return self.num_classes

    @property
    def new_tensors(self) -> str:
        """How the names of the tensors begin that this step adds to the one before; empty for the first step."""
        return f"sem_seg_head.added.{self.index - 1}." if self.index else ""


def continual_step(cfg: CfgNode) -> ContinualStep | None:
    """The step that the config is set to; None for a model that learns all classes at once.

    Raises:
        UserError: where the protocol contradicts itself or the number of classes.
    """
    continual, num_classes = cfg.MODEL.SEGVIT.CONTINUAL, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if not continual.PROTOCOL and not continual.GROUPS:
        return None
    names = _class_names(cfg)
    groups = _groups(continual, names, num_classes)
    index = continual.STEP if continual.STEP >= 0 else len(groups) + continual.STEP
    if not 0 <= index < len(groups):
        raise UserError(f"{KEY}.STEP {continual.STEP}: there are steps 0 to {len(groups) - 1}, and -1 for the last")
    if continual.SELECTION not in ("overlapped", "disjoint"):
        raise UserError(f"{KEY}.SELECTION {continual.SELECTION!r} must be 'overlapped' or 'disjoint'")
    if continual.CALIBRATION not in ("none", "bias"):
        raise UserError(f"{KEY}.CALIBRATION {continual.CALIBRATION!r} must be 'none' or 'bias'")
    if continual.IN_FEATURES and continual.SHARED_DECODER:
        raise UserError(f"{KEY}.IN_FEATURES: with SHARED_DECODER later groups read what the first one reads")
    if continual.ITERATIONS and len(continual.ITERATIONS) != len(groups):
        raise UserError(f"{KEY}.ITERATIONS has {len(continual.ITERATIONS)} entries for {len(groups)} steps")
    return ContinualStep(
        index=index,
        groups=groups,
        num_classes=num_classes,
        class_names=tuple(names) if continual.CLASSES else (),
        selection=continual.SELECTION,
        iterations=tuple(continual.ITERATIONS),
        in_features=tuple(continual.IN_FEATURES),
        query_upsampling=continual.QUERY_UPSAMPLING,
        shares_decoder=continual.SHARED_DECODER,
        competition_weight=continual.COMPETITION_WEIGHT,
        calibration=continual.CALIBRATION,
    )


def _groups(continual: CfgNode, names: Sequence[str], num_classes: int) -> ClassGroups:
    if continual.PROTOCOL and continual.GROUPS:
        raise UserError(f"{KEY}: PROTOCOL and GROUPS both say which classes belong together; leave one of them empty")
    if continual.GROUPS:
        groups = tuple(tuple(class_ids(group, names, num_classes, key=f"{KEY}.GROUPS")) for group in continual.GROUPS)
        require_disjoint(groups, key=f"{KEY}.GROUPS")
        return groups
    order = class_ids(continual.CLASS_ORDER, names, num_classes, key=f"{KEY}.CLASS_ORDER") or list(range(num_classes))
    groups = split_into_groups(order, protocol_sizes(continual.PROTOCOL, len(order)))
    require_disjoint(groups, key=f"{KEY}.CLASS_ORDER")
    return groups


def model_names_classes(cfg: CfgNode) -> bool:
    """Whether the config names the model's classes, which then need not be those of its data sets."""
    return bool(cfg.MODEL.SEGVIT.CONTINUAL.CLASSES)


def count_own_classes(cfg: CfgNode) -> None:
    """Set MODEL.SEM_SEG_HEAD.NUM_CLASSES 0 to the number of classes that the config names, in place."""
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NUM_CLASSES = head.NUM_CLASSES or len(own_classes(cfg))


def own_classes(cfg: CfgNode) -> list[str]:
    """The names in CONTINUAL.CLASSES, data sets' replaced by those of their classes. Raises UserError for doubles."""
    names: list[str] = []
    for entry in cfg.MODEL.SEGVIT.CONTINUAL.CLASSES:
        names += data_set_classes(entry.removeprefix(DATA_SET_PREFIX)) if entry.startswith(DATA_SET_PREFIX) else [entry]
    doubles = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubles:
        raise UserError(f"{KEY}.CLASSES names {', '.join(doubles)} more than once")
    return names


def _class_names(cfg: CfgNode) -> list[str]:
    """Names by class id: those of CLASSES, else the training data set's, else none."""
    num_classes, train_sets = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.DATASETS.TRAIN
    if not model_names_classes(cfg):
        names = MetadataCatalog.get(train_sets[0]).get("stuff_classes", []) if train_sets else []
        return list(names) if len(names) == num_classes else []
    names = own_classes(cfg)
    if len(names) != num_classes:
        raise UserError(
            f"{KEY}.CLASSES names {len(names)} classes, but MODEL.SEM_SEG_HEAD.NUM_CLASSES is {num_classes}; "
            "0 takes the number from there"
        )
    return names


def data_set_classes(name: str) -> list[str]:
    """The class names of a registered data set. Raises UserError where it has none."""
    names = MetadataCatalog.get(name).get("stuff_classes", None)
    if not names:
        raise UserError(f"data set {name!r} is unknown, or its metadata has no stuff_classes")
    return list(names)


def model_ids(step: ContinualStep, data_set: str) -> np.ndarray:
    """(classes of the data set,) int64: each one's id in the model, by name, and -1 for those that it does not have.

    Where the model has no names, its classes are the data set's.
    """
    if not step.class_names:
        return np.arange(step.num_classes)
    ids = {name: index for index, name in enumerate(step.class_names)}
    return np.array([ids.get(name, -1) for name in data_set_classes(data_set)])


def training_labels(cfg: CfgNode) -> np.ndarray | None:
    """(classes of the training data,) int64: the label that each class has in the step's training.

    Those of the step keep the model's id; all others, old and future, are background. None for a model that learns all
    classes at once.
    """
    step = continual_step(cfg)
    if step is None:
        return None
    train_sets = cfg.DATASETS.TRAIN
    tables = [model_ids(step, name) for name in train_sets]
    if any(not np.array_equal(table, tables[0]) for table in tables):
        raise UserError(f"DATASETS.TRAIN {list(train_sets)}: {KEY} needs data sets with the same classes")
    if step.background == cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE {step.background} is the label of the background; set another"
        )
    return np.where(np.isin(tables[0], step.new_classes), tables[0], step.background)
