"""`IdMapping`: new class ids for the ids in label maps, such as binary masks of 0 and 255."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from segvit.errors import UserError

FROM_ONE = "from-one"


@dataclass(frozen=True)
class IdMapping:
    """Old id -> new id; other ids do not change."""

    new_ids: Mapping[int, int] = field(default_factory=dict)

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """(H, W) integers or booleans -> (H, W) int64."""
        labels = labels.astype(np.int64)
        values, indices = np.unique(labels, return_inverse=True)
        mapped = np.array([self.new_ids.get(int(value), int(value)) for value in values], dtype=np.int64)
        return mapped[indices].reshape(labels.shape)


def parse_id_mapping(text: str, *, num_classes: int, ignore_value: int) -> IdMapping:
    """The value of --map-ids: "from-one" or "OLD=NEW,...", where NEW is an id or "ignore".

    "from-one" is for ids from 1 with 0 as void: 0 becomes the ignore value, and all others decrease by 1.

    Raises UserError for other texts.
    """
    if text == FROM_ONE:
        return IdMapping({0: ignore_value} | {label_id: label_id - 1 for label_id in range(1, num_classes + 1)})
    if not re.fullmatch(r"\d+=(\d+|ignore)(,\d+=(\d+|ignore))*", text):
        raise UserError(f"--map-ids {text!r} must be {FROM_ONE} or OLD=NEW,... such as 255=1 or 0=ignore,1=0,2=1")
    pairs = [pair.split("=") for pair in text.split(",")]
    return IdMapping({int(old): ignore_value if new == "ignore" else int(new) for old, new in pairs})
