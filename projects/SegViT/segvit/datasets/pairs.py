"""`load_sem_seg_pairs`: images and label maps paired by stem; Detectron2 pairs the sorted listings by position."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from segvit.errors import UserError, listed
from segvit.images.channel_files import ARRAY_EXTENSIONS

# Image formats that are read. Formats that also hold other data (.h5, .mpg) are excluded: such a file next to an
# image with the same stem is not a second image.
IMAGE_EXTENSIONS = (
    *(".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
    *(".ppm", ".tga", ".tif", ".tiff", ".webp"),
    *ARRAY_EXTENSIONS,
)
ANNOTATION_EXTENSIONS = (".png",)
# How many names an error message lists.
MAX_LISTED = 5


def load_sem_seg_pairs(
    image_dir: str | os.PathLike[str], annotation_dir: str | os.PathLike[str]
) -> list[dict[str, str]]:
    """Records with `file_name` and `sem_seg_file_name`, sorted by stem; extensions are case-insensitive.

    Stems are compared in the Unicode form NFC: macOS and Windows write accents in different forms.

    Raises:
        FileNotFoundError: a folder does not exist.
        UserError: a folder is empty, two files have the same stem, or a file has no partner.
    """
    images = _one_file_by_stem(Path(image_dir), IMAGE_EXTENSIONS)
    annotations = _one_file_by_stem(Path(annotation_dir), ANNOTATION_EXTENSIONS)
    _check_matched(set(images) - set(annotations), f"images in {image_dir} without a label map in {annotation_dir}")
    _check_matched(set(annotations) - set(images), f"label maps in {annotation_dir} without an image in {image_dir}")
    return [{"file_name": str(images[stem]), "sem_seg_file_name": str(annotations[stem])} for stem in sorted(images)]


def files_by_stem(folder: Path, extensions: tuple[str, ...]) -> dict[str, list[Path]]:
    """Stem in the Unicode form NFC -> files of a folder with one of the extensions, without hidden files.

    Raises FileNotFoundError if the folder does not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"folder {folder} does not exist (your own dataset is read from DATASETS.FOLDER, registered datasets from "
            "$DETECTRON2_DATASETS, by default ./datasets)"
        )
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in extensions and not path.name.startswith("."):
            files.setdefault(unicodedata.normalize("NFC", path.stem), []).append(path)
    # An array beside an image of the same name is something else, such as its features.
    return {stem: _without_arrays(paths) for stem, paths in files.items()}


def _without_arrays(paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() not in ARRAY_EXTENSIONS] or paths


def _one_file_by_stem(folder: Path, extensions: tuple[str, ...]) -> dict[str, Path]:
    files = files_by_stem(folder, extensions)
    for first, *others in files.values():
        if others:
            raise UserError(f"{folder}: {first.name} and {others[0].name} have the same stem: keep one of them")
    if not files:
        raise UserError(f"{folder}: no file with an extension of {', '.join(extensions)}")
    return {stem: path for stem, (path,) in files.items()}


def _check_matched(stems: set[str], what: str) -> None:
    if stems:
        names = listed(sorted(stems), MAX_LISTED)
        raise UserError(f"{len(stems)} {what}: {names}; the two must have the same name up to the extension")
