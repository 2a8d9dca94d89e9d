"""`ContinualStep`: the step of continual segmentation that MODEL.SEGVIT.CONTINUAL describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from yacs.config import CfgNode

from segvit.errors import UserError, renamed_arguments
from segvit.modeling.continual.class_groups import (
    ClassGroups,
    class_ids,
    protocol_sizes,
    require_disjoint,
    split_into_groups,
)

KEY = "MODEL.SEGVIT.CONTINUAL"
# In CONTINUAL.CLASSES, "dataset:NAME" stands for all classes of a registered dataset.
DATASET_PREFIX = "dataset:"


@dataclass(frozen=True)
class ContinualStep:
    """One step: the classes that it learns, and those of the steps before.

    Attributes:
        index: of the step, from 0.
        groups: the class ids of every step of the protocol, later ones included.
        num_classes: K, the classes of all groups and of none.
        class_names: K names by class id; empty if only ids are known.
        selection: "overlapped" or "disjoint", see `select_records`.
        iterations: SOLVER.MAX_ITER of each step; empty for the same in all.
        in_features: the stages that later groups read; empty for those of the first group.
        query_upsampling: how later groups restore the grid; empty for the method of the first group.
        num_layers, hidden_dim: of the decoders of later groups; 0 for those of the first group.
        adapter_blocks, adapter_dim: of the `StageAdapter` of later groups; 0 blocks for none.
        competition_weight: of the loss between a new group and the older ones (`CompetitionLoss`).
        calibration: how the new group's factor is chosen after training, "none" or "bias".
        background_class: the class id of everything without a label, in the first group; -1 for none.
    """

    index: int
    groups: ClassGroups
    num_classes: int
    class_names: tuple[str, ...]
    selection: str
    iterations: tuple[int, ...]
    in_features: tuple[str, ...]
    query_upsampling: str
    num_layers: int
    hidden_dim: int
    adapter_blocks: int
    adapter_dim: int
    competition_weight: float
    calibration: str
    background_class: int = -1

    @property
    def new_classes(self) -> tuple[int, ...]:
        """The class ids that this step learns."""
        return self.groups[self.index]

    @property
    def selecting_classes(self) -> tuple[int, ...]:
        """The classes of which one must be in a training image: the new ones without the background class."""
        return tuple(class_id for class_id in self.new_classes if class_id != self.background_class)

    @property
    def known_groups(self) -> ClassGroups:
        """The groups learnt up to this step, including it."""
        return self.groups[: self.index + 1]

    @property
    def later_classes(self) -> tuple[int, ...]:
        """The class ids of the steps after this one."""
        return tuple(class_id for group in self.groups[self.index + 1 :] for class_id in group)

    @property
    def background(self) -> int:
        """The training label of pixels of all other classes: the background class where it is new, else one past K."""
        return self.background_class if self.background_class in self.new_classes else self.num_classes

    @property
    def new_tensors(self) -> str:
        """Prefix of the names of the tensors that this step adds; empty for the first step."""
        return f"sem_seg_head.added.{self.index - 1}." if self.index else ""


def continual_step(cfg: CfgNode) -> ContinualStep | None:
    """The step of the config; None for a model that learns all classes at once.

    Raises:
        UserError: if the keys contradict each other or the number of classes.
    """
    continual = cfg.MODEL.SEGVIT.CONTINUAL
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if not continual.PROTOCOL and not continual.GROUPS:
        return None
    names = class_names(cfg)
    background = _background_class(continual, names, num_classes)
    groups = _groups(continual, names, num_classes, background)
    index = continual.STEP if continual.STEP >= 0 else len(groups) + continual.STEP
    if not 0 <= index < len(groups):
        raise UserError(f"{KEY}.STEP {continual.STEP}: there are steps 0 to {len(groups) - 1}, and -1 for the last")
    if continual.SELECTION not in ("overlapped", "disjoint"):
        raise UserError(f"{KEY}.SELECTION {continual.SELECTION!r} must be 'overlapped' or 'disjoint'")
    if continual.CALIBRATION not in ("none", "bias"):
        raise UserError(f"{KEY}.CALIBRATION {continual.CALIBRATION!r} must be 'none' or 'bias'")
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
        num_layers=continual.NUM_LAYERS,
        hidden_dim=continual.HIDDEN_DIM,
        adapter_blocks=continual.ADAPTER_BLOCKS,
        adapter_dim=continual.ADAPTER_DIM,
        competition_weight=continual.COMPETITION_WEIGHT,
        calibration=continual.CALIBRATION,
        background_class=background,
    )


def _background_class(continual: CfgNode, names: Sequence[str], num_classes: int) -> int:
    """The id of BACKGROUND_CLASS, -1 for none."""
    name = continual.BACKGROUND_CLASS
    if not name:
        return -1
    with renamed_arguments(classes=f"{KEY}.BACKGROUND_CLASS"):
        return class_ids([name], names, num_classes)[0]


def _groups(continual: CfgNode, names: Sequence[str], num_classes: int, background: int) -> ClassGroups:
    """The class ids of each step; the background class is in the first, and a protocol does not count it."""
    if continual.PROTOCOL and continual.GROUPS:
        raise UserError(f"{KEY}: PROTOCOL and GROUPS both define groups of classes; leave one of them empty")
    if continual.GROUPS:
        with renamed_arguments(classes=f"{KEY}.GROUPS", groups=f"{KEY}.GROUPS"):
            groups = tuple(tuple(class_ids(group, names, num_classes)) for group in continual.GROUPS)
            require_disjoint(groups)
        if background >= 0 and background not in groups[0]:
            raise UserError(f"{KEY}.BACKGROUND_CLASS {background} must be in the first group of {KEY}.GROUPS")
        return groups
    keys = {"classes": f"{KEY}.CLASS_ORDER", "groups": f"{KEY}.CLASS_ORDER", "protocol": f"{KEY}.PROTOCOL"}
    with renamed_arguments(**keys):
        order = class_ids(continual.CLASS_ORDER, names, num_classes) or list(range(num_classes))
        foreground = [class_id for class_id in order if class_id != background]
        groups = split_into_groups(foreground, protocol_sizes(continual.PROTOCOL, len(foreground)))
        groups = ((background, *groups[0]), *groups[1:]) if background >= 0 else groups
        require_disjoint(groups)
    return groups


def model_names_classes(cfg: CfgNode) -> bool:
    """Whether the config names the model's classes, which may then differ from those of its datasets."""
    return bool(cfg.MODEL.SEGVIT.CONTINUAL.CLASSES)


def set_num_classes(cfg: CfgNode) -> None:
    """Replace MODEL.SEM_SEG_HEAD.NUM_CLASSES 0 by the number of classes in CONTINUAL.CLASSES, in place."""
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NUM_CLASSES = head.NUM_CLASSES or len(listed_classes(cfg))


def listed_classes(cfg: CfgNode) -> list[str]:
    """The names in CONTINUAL.CLASSES, with those of datasets filled in. Raises UserError for repeated names."""
    names: list[str] = []
    for name in cfg.MODEL.SEGVIT.CONTINUAL.CLASSES:
        names += dataset_classes(name.removeprefix(DATASET_PREFIX)) if name.startswith(DATASET_PREFIX) else [name]
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise UserError(f"{KEY}.CLASSES names {', '.join(repeated)} more than once")
    return names


def class_names(cfg: CfgNode) -> list[str]:
    """The model's class names by id: those of CLASSES, else of the training data (`fitting_classes`)."""
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if not model_names_classes(cfg):
        return fitting_classes(cfg.DATASETS.TRAIN, num_classes)
    names = listed_classes(cfg)
    if len(names) != num_classes:
        raise UserError(
            f"{KEY}.CLASSES names {len(names)} classes, but MODEL.SEM_SEG_HEAD.NUM_CLASSES is {num_classes}; "
            "0 takes the number from CLASSES"
        )
    return names


def dataset_classes(name: str) -> list[str]:
    """The class names of a registered dataset. Raises UserError if it has none."""
    names = registered_classes(name)
    if not names:
        raise UserError(f"dataset {name!r} is unknown, or its metadata has no stuff_classes")
    return names


def fitting_classes(datasets: Sequence[str], num_classes: int) -> list[str]:
    """The class names of the first of these datasets that has as many; none if none has."""
    return next((names for names in map(registered_classes, datasets) if len(names) == num_classes), [])


def registered_classes(name: str) -> list[str]:
    """The class names of a dataset in Detectron2's catalog; none if it has none, or Detectron2 is not installed."""
    try:
        from detectron2.data import MetadataCatalog
    except ImportError:
        return []
    return list(MetadataCatalog.get(name).get("stuff_classes", ()))


def model_ids(step: ContinualStep, dataset_name: str) -> np.ndarray:
    """(classes of the dataset,) int64: the model's id of each class, matched by name; -1 for unknown classes.

    A model without class names has the ids of the dataset.
    """
    if not step.class_names:
        return np.arange(step.num_classes)
    ids = {name: index for index, name in enumerate(step.class_names)}
    return np.array([ids.get(name, -1) for name in dataset_classes(dataset_name)])


def training_labels(cfg: CfgNode) -> np.ndarray | None:
    """(classes of the training data,) int64: the training label of each class in this step.

    Classes of the step keep the model's id; all others, older and future ones, are background. None for a model that
    learns all classes at once.
    """
    step = continual_step(cfg)
    if step is None:
        return None
    train_sets = cfg.DATASETS.TRAIN
    tables = [model_ids(step, name) for name in train_sets]
    if any(not np.array_equal(table, tables[0]) for table in tables):
        raise UserError(f"DATASETS.TRAIN {list(train_sets)}: {KEY} needs datasets with the same classes")
    if step.background == cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE {step.background} is the label of the background; set another"
        )
    return np.where(np.isin(tables[0], step.new_classes), tables[0], step.background)
