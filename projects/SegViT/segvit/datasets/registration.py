"""`register_sem_seg_split`: Detectron2 datasets of the layout `<root>/<dataset>/{images,annotations}/<split>`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from segvit.classes.palette import Color
from segvit.datasets.benchmarks.ade20k_full import refuse_full_ade20k
from segvit.datasets.pairs import load_sem_seg_pairs
from segvit.errors import END_OF_COMMAND, UserError

# Begins the names of the splits of DATASETS.FOLDER (`datasets/folder.py`).
FOLDER_PREFIX = "folder_"
# The values of a dataset's `evaluator_type` that mean label maps of class ids.
EVALUATORS = ("sem_seg", "cityscapes_sem_seg")


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

    The environment and the folder are read by `DatasetCatalog.get(name)`. A name that is already registered is kept.
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
    """The image folder and the label map folder of a registered split, under the current $DETECTRON2_DATASETS.

    Raises UserError if the metadata names no folders.
    """
    meta = MetadataCatalog.get(name)
    if meta.get("image_folder"):
        return datasets_root() / meta.image_folder, datasets_root() / meta.annotation_folder
    if meta.get("image_root") and meta.get("sem_seg_root"):  # Detectron2's own registrations
        return Path(meta.image_root), Path(meta.sem_seg_root)
    raise UserError(f"the metadata of dataset {name!r} names no folders of images and label maps")


def require_datasets(names: Iterable[str]) -> None:
    """Check that datasets are complete before a run starts, instead of at its first evaluation.

    Raises UserError, naming the dataset, if one is unknown or missing, or has files without a partner.
    """
    for name in names:
        refuse_full_ade20k(name)
        try:
            DatasetCatalog.get(name)
        except (FileNotFoundError, AssertionError) as error:  # assertions are those of Detectron2's loaders
            raise UserError(
                f"dataset {name!r}: {error}; datasets/README.md explains how to get and prepare each dataset"
            ) from error
        except KeyError as error:
            if str(name).startswith(FOLDER_PREFIX):
                remedy = f"{END_OF_COMMAND}DATASETS.FOLDER /path/to/folder"
                raise UserError(f"dataset {name!r} is a split of your own folder: {remedy}") from error
            raise UserError(f"unknown dataset {name!r}; near: {', '.join(nearest_names(str(name)))}") from error
        except ValueError as error:
            raise UserError(f"dataset {name!r}: {error}") from error


def sem_seg_names() -> list[str]:
    """The names of all registered semantic segmentation datasets."""
    return [name for name in DatasetCatalog.list() if MetadataCatalog.get(name).get("evaluator_type") in EVALUATORS]


def folders_of(name: str) -> tuple[Path, ...]:
    """The folders that must exist for a registered dataset to be there; none if its metadata does not say."""
    meta = MetadataCatalog.get(name)
    if meta.get("image_dir"):  # Cityscapes, with a folder for each city
        return Path(meta.image_dir), Path(meta.gt_dir)
    return pair_folders(name) if has_pair_folders(name) else ()


def has_pair_folders(name: str) -> bool:
    """Whether the metadata names a folder of images and one of label maps, paired by name."""
    meta = MetadataCatalog.get(name)
    return bool(meta.get("image_folder") or (meta.get("image_root") and meta.get("sem_seg_root")))


def nearest_names(name: str) -> list[str]:
    """The up to three names of `sem_seg_names` nearest to this one; all of them if none is near."""
    known = sem_seg_names()
    return get_close_matches(name, known, n=3, cutoff=0.4) or known
