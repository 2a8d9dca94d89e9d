"""`class_weights`: how much each class counts in the losses, as MODEL.SEGVIT.CLASS_WEIGHTS says.

Shape shorthand: K classes.
"""

from __future__ import annotations

import math

from yacs.config import CfgNode

from segvit.config.continual_step import class_names
from segvit.errors import UserError, renamed_arguments
from segvit.modeling.continual.class_groups import class_ids

KEY = "MODEL.SEGVIT.CLASS_WEIGHTS"
AUTO = "auto"


def class_weights(cfg: CfgNode) -> list[float] | None:
    """(K,) the weight of each class, 1 where none is given; None if all are equal.

    Weights have no part in inference: "auto" gives none before `with_counted_weights`, and neither do names where the
    dataset that has them is missing.

    Raises:
        UserError: MODEL.SEGVIT.CLASS_WEIGHTS is malformed, or names an unknown class or a class twice.
    """
    if not class_names(cfg) and any(isinstance(class_, str) for class_, _ in given_weights(cfg)):
        return None
    by_id = weights_by_id(cfg)
    return [by_id.get(index, 1.0) for index in range(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)] if by_id else None


def counts_weights(cfg: CfgNode) -> bool:
    """Whether the weights are to be counted on the training labels."""
    return AUTO in cfg.MODEL.SEGVIT.CLASS_WEIGHTS


def given_weights(cfg: CfgNode) -> list[tuple[int | str, float]]:
    """Each class that is given, by id or name, and its weight; without "auto"."""
    pairs = [entry for entry in cfg.MODEL.SEGVIT.CLASS_WEIGHTS if entry != AUTO]
    fits = all(isinstance(pair, list | tuple) and len(pair) == 2 and type(pair[1]) in (int, float) for pair in pairs)
    if not fits or not all(0 < pair[1] < math.inf for pair in pairs):
        raise UserError(
            f"{KEY} {cfg.MODEL.SEGVIT.CLASS_WEIGHTS!r} must be pairs of a class and its weight above 0, such as "
            "[['pole', 3.0]], or ['auto']"
        )
    return [(class_, float(weight)) for class_, weight in pairs]


def weights_by_id(cfg: CfgNode) -> dict[int, float]:
    """The weights that are given, by class id. Raises UserError as `class_weights` does."""
    given = given_weights(cfg)
    with renamed_arguments(classes=KEY):
        ids = class_ids([class_ for class_, _ in given], class_names(cfg), cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
    if len(set(ids)) < len(ids):
        raise UserError(f"{KEY} {cfg.MODEL.SEGVIT.CLASS_WEIGHTS!r} names a class twice: leave one of the weights out")
    return {class_id: weight for class_id, (_, weight) in zip(ids, given, strict=True)}
