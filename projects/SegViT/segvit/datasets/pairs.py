"""Pairs images with label maps by file stem, never by order (Detectron2's `load_sem_seg` zips the two listings)."""

from __future__ import annotations

import os
from pathlib import Path

from segvit.errors import UserError

# What Detectron2's reader, Pillow, opens as one picture. Formats that also hold other data (.h5, .mpg) are left out:
# such a file beside an image of the same stem is no second image.
IMAGE_EXTENSIONS = (
    *(".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
    *(".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
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
    images = _one_file_by_stem(Path(image_dir), IMAGE_EXTENSIONS)
    annotations = _one_file_by_stem(Path(annotation_dir), ANNOTATION_EXTENSIONS)
    _check_matched(set(images) - set(annotations), f"images in {image_dir} without a label map in {annotation_dir}")
    _check_matched(set(annotations) - set(images), f"label maps in {annotation_dir} without an image in {image_dir}")
    return [{"file_name": str(images[stem]), "sem_seg_file_name": str(annotations[stem])} for stem in sorted(images)]


def files_by_stem(folder: Path, extensions: tuple[str, ...]) -> dict[str, list[Path]]:
    """Stem -> the files of a folder that have it and one of the extensions; hidden files are left out.

    Raises FileNotFoundError for a folder that does not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder} (data sets are looked for in DATASETS.FOLDER, those known by name under "
            "$DETECTRON2_DATASETS, by default ./datasets)"
        )
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in extensions and not path.name.startswith("."):
            files.setdefault(path.stem, []).append(path)
    return files


def _one_file_by_stem(folder: Path, extensions: tuple[str, ...]) -> dict[str, Path]:
    files = files_by_stem(folder, extensions)
    for first, *others in files.values():
        if others:
            raise UserError(f"{folder}: {first.name} and {others[0].name} have the same stem: keep one of them")
    if not files:
        raise UserError(f"{folder}: no file that ends in {', '.join(extensions)}")
    return {stem: path for stem, (path,) in files.items()}


def _check_matched(stems: set[str], what: str) -> None:
    if stems:
        named = ", ".join(sorted(stems)[:MAX_NAMED]) + (", ..." if len(stems) > MAX_NAMED else "")
        raise UserError(f"{len(stems)} {what}: {named}; both share their name up to the extension")
