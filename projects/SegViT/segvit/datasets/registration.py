"""Registers a split of the layout `<root>/<data set>/{images,annotations}/<split>` with Detectron2."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from segvit.datasets.pairs import load_sem_seg_pairs
from segvit.errors import UserError

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
    images: str = "images",
    annotations: str = "annotations",
) -> None:
    """Register `folder/{images,annotations}/split` as `name`; a relative folder is taken under `datasets_root()`.

    The environment and the folder are read at `DatasetCatalog.get(name)`. A name that exists already is left alone.
    """
    if name in DatasetCatalog:
        return

    DatasetCatalog.register(name, lambda: load_sem_seg_pairs(*pair_folders(name)))
    MetadataCatalog.get(name).set(
        stuff_classes=list(stuff_classes),
        stuff_colors=list(stuff_colors),
        ignore_label=ignore_label,
        evaluator_type="sem_seg",
        image_folder=str(Path(folder, images, split)),
        annotation_folder=str(Path(folder, annotations, split)),
    )


def pair_folders(name: str) -> tuple[Path, Path]:
    """The folders of the images and of the label maps of a registered split, as the environment is now.

    Raises UserError for a data set that is a list of files from anywhere.
    """
    meta = MetadataCatalog.get(name)
    if meta.get("image_folder"):
        return datasets_root() / meta.image_folder, datasets_root() / meta.annotation_folder
    if meta.get("image_root") and meta.get("sem_seg_root"):  # what Detectron2 calls them in its own registrations
        return Path(meta.image_root), Path(meta.sem_seg_root)
    raise UserError(f"data set {name!r} does not say in which folders its images and label maps are")


def require_data_sets(names: Iterable[str]) -> None:
    """List the files of data sets, so that a run stops at its start, not at its first evaluation hours later.

    Raises UserError, naming the data set, where one is unknown, missing or does not pair up.
    """
    for name in names:
        try:
            DatasetCatalog.get(name)
        except FileNotFoundError as error:
            raise UserError(
                f"data set {name!r}: {error}; how to get and prepare each data set: datasets/README.md"
            ) from error
        except KeyError as error:
            raise UserError(f"there is no data set {name!r}; near: {', '.join(nearest_names(str(name)))}") from error
        except (AssertionError, ValueError) as error:
            raise UserError(f"data set {name!r}: {error}") from error


def sem_seg_names() -> list[str]:
    """The names of all data sets for semantic segmentation."""
    return [name for name in DatasetCatalog.list() if MetadataCatalog.get(name).get("evaluator_type") == "sem_seg"]


def nearest_names(name: str) -> list[str]:
    """Those of `sem_seg_names` that are most like this name, or else all."""
    known = sem_seg_names()
    return get_close_matches(name, known, n=3, cutoff=0.4) or known
