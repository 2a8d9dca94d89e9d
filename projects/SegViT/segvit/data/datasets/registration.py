"""Registers a split of the layout `<root>/<data set>/{images,annotations}/<split>` with Detectron2."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from segvit.data.datasets.pairs import load_sem_seg_pairs

Color = tuple[int, int, int]


def datasets_root() -> Path:
    """The folder that `DETECTRON2_DATASETS` names, by default `datasets` in the working directory."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def register_sem_seg_split(
    name: str,
    *,
    folder: str | os.PathLike[str],
    split: str,
    stuff_classes: Sequence[str],
    stuff_colors: Sequence[Color],
    ignore_label: int = 255,
) -> None:
    """Register `folder/{images,annotations}/split` as `name`; a relative folder is taken under `datasets_root()`.

    The environment and the folder are read at `DatasetCatalog.get(name)`. A name that exists already is left alone.
    """
    if name in DatasetCatalog:
        return

    def load() -> list[dict[str, str]]:
        root = datasets_root() / folder
        return load_sem_seg_pairs(root / "images" / split, root / "annotations" / split)

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        stuff_classes=list(stuff_classes),
        stuff_colors=list(stuff_colors),
        ignore_label=ignore_label,
        evaluator_type="sem_seg",
    )
