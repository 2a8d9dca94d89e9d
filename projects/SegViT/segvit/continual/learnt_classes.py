"""`LearntClasses`: the classes of a model by groups; those of a model folder, and the ones that a dataset can add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode

from segvit.config.continual_step import KEY, ContinualStep, continual_step
from segvit.errors import UserError
from segvit.model_folder.files import ModelFolder
from segvit.modeling.continual.class_groups import ClassGroups

HEAD = "MODEL.SEM_SEG_HEAD.NAME"


@dataclass(frozen=True)
class LearntClasses:
    """The classes of a model and the groups in which it has learnt them.

    Attributes:
        names: by class id.
        groups: the class ids of each group, in the order of their decoders and queries.
    """

    names: tuple[str, ...]
    groups: ClassGroups

    def with_group(self, names: Sequence[str]) -> LearntClasses:
        """The classes after one more group, whose ids follow those of the others."""
        ids = range(len(self.names), len(self.names) + len(names))
        return LearntClasses(names=(*self.names, *names), groups=(*self.groups, tuple(ids)))

    def config_keys(self) -> dict[str, Any]:
        """The keys of a model that has learnt them, or learns the last group."""
        return {
            HEAD: "ContinualHead",
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES": len(self.names),
            "MODEL.SEGVIT.ENCODER_WEIGHT": 0.0,  # its classifier is of the old classes; the encoder is frozen
            f"{KEY}.PROTOCOL": "",
            f"{KEY}.GROUPS": [list(group) for group in self.groups],
            f"{KEY}.CLASS_ORDER": [],
            f"{KEY}.CLASSES": list(self.names),
            f"{KEY}.STEP": -1,
            f"{KEY}.ITERATIONS": [],
            f"{KEY}.BACKGROUND_CLASS": "",
        }


def step_of(cfg: CfgNode) -> ContinualStep:
    """The step of a config that has groups of classes."""
    step = continual_step(cfg)
    assert step is not None
    return step


def learnt_classes(model: ModelFolder) -> LearntClasses:
    """What a model has learnt. Classes of later steps of a protocol are left out, and their ids given to others."""
    names = model.classes.names
    step = continual_step(model.cfg)
    if step is None or model.cfg.MODEL.SEM_SEG_HEAD.NAME != "ContinualHead":
        return LearntClasses(names=names, groups=(tuple(range(len(names))),))
    ids = sorted(class_id for group in step.known_groups for class_id in group)
    groups = tuple(tuple(ids.index(class_id) for class_id in group) for group in step.known_groups)
    return LearntClasses(names=tuple(names[class_id] for class_id in ids), groups=groups)


def new_classes(known: Sequence[str], of_dataset: Sequence[str], requested: Sequence[str] = ()) -> list[str]:
    """The classes to learn.

    Args:
        known: the classes of the model.
        of_dataset: the classes of the dataset.
        requested: those to learn; by default all that the model does not know.

    Raises:
        UserError: there is none, one of `requested` is unknown or learnt already, or two names differ in case alone.
    """
    absent = [name for name in requested if name not in of_dataset]
    if absent:
        raise UserError(f"--classes {' '.join(absent)}: the dataset's classes are {', '.join(of_dataset)}")
    learnt = [name for name in requested if name in known]
    if learnt:
        raise UserError(
            f"--classes {' '.join(learnt)}: the model has learnt that already; its classes stay as they are"
        )
    if requested:
        return list(dict.fromkeys(requested))
    new = [name for name in of_dataset if name not in known]
    if not new:
        raise UserError(f"the model knows all classes of the dataset, {', '.join(of_dataset)}: there is none to add")
    spelt = {name.casefold(): name for name in known}
    for name in new:
        alike = spelt.setdefault(name.casefold(), name)
        if alike != name:
            owner = "the model's " if alike in known else ""
            raise UserError(
                f"class {name!r} of the dataset differs from {owner}{alike!r} in case alone: rename it in the "
                "dataset's list, or name all classes to learn by --classes"
            )
    return new
