"""`refuse_full_ade20k`: ADE20K's full set of 847 classes is not the benchmark of 150, and has no recipe here."""

from __future__ import annotations

from collections.abc import Iterable

from segvit.errors import UserError

NUM_CLASSES, NUM_CLASSES_OF_BENCHMARK = 847, 150
# The folder of the full set as unpacked, and the first part of the names that MaskFormer gave it.
FOLDER, NAME = "ADE20K_2021_17_01", "ade20k_full"
REMEDY = (
    "the recipes train on the scene-parsing benchmark of 150 classes, ADEChallengeData2016.zip "
    "(datasets/prepare_ade20k_sem_seg.py); to train on the full set, write its label maps as index PNGs of 16 bits "
    "with a list of 847 classes (docs/custom_data.md), and use a config of configs/custom"
)


def refuse_full_ade20k(name: str) -> None:
    """Raise UserError if a path or the name of a dataset is that of the full set."""
    if FOLDER in name or name.startswith(NAME):
        raise UserError(f"{name} is ADE20K's full set, with {NUM_CLASSES} classes: {REMEDY}")


def full_ade20k_hint(ids: Iterable[int], num_classes: int) -> str:
    """What to add to a message on ids out of range, if they are those of the full set in a model of 150 classes."""
    ids = list(ids)
    is_full = num_classes == NUM_CLASSES_OF_BENCHMARK and ids and NUM_CLASSES_OF_BENCHMARK < max(ids) < NUM_CLASSES
    return f"; ids up to {NUM_CLASSES - 1} are those of ADE20K's full set: {REMEDY}" if is_full else ""
