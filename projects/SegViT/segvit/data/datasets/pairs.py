"""Pairs images with label maps by file stem, never by order (Detectron2's `load_sem_seg` zips the two listings)."""

from __future__ import annotations

import os
from pathlib import Path

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png")
ANNOTATION_EXTENSIONS = (".png",)
# How many names an error message lists.
MAX_NAMED = 5


def load_sem_seg_pairs(
    image_dir: str | os.PathLike[str], annotation_dir: str | os.PathLike[str]
) -> list[dict[str, str]]:
    """Dicts with `file_name` and `sem_seg_file_name`, sorted by stem; extensions count in any case.

    Raises FileNotFoundError for a folder that does not exist, ValueError for an empty one, for two files with the same
    stem, and for an image without label map or the reverse.
    """
    images = _files_by_stem(Path(image_dir), IMAGE_EXTENSIONS)
    annotations = _files_by_stem(Path(annotation_dir), ANNOTATION_EXTENSIONS)
    _check_matched(set(images) - set(annotations), f"images in {image_dir} without a label map in {annotation_dir}")
    _check_matched(set(annotations) - set(images), f"label maps in {annotation_dir} without an image in {image_dir}")
    return [{"file_name": str(images[stem]), "sem_seg_file_name": str(annotations[stem])} for stem in sorted(images)]


def _files_by_stem(folder: Path, extensions: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder} (data sets are looked for under $DETECTRON2_DATASETS, by default ./datasets)"
        )
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in extensions or path.name.startswith("."):
            continue
        if path.stem in files:
            raise ValueError(f"{folder}: {files[path.stem].name} and {path.name} have the same stem")
        files[path.stem] = path
    if not files:
        raise ValueError(f"{folder}: no file that ends in {', '.join(extensions)}")
    return files


def _check_matched(stems: set[str], what: str) -> None:
    if stems:
        named = ", ".join(sorted(stems)[:MAX_NAMED]) + (", ..." if len(stems) > MAX_NAMED else "")
        raise ValueError(f"{len(stems)} {what}: {named}")
