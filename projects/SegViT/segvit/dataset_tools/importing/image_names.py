"""`unique_stems`: names of images in one folder, for images from many."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from segvit.dataset_tools.importing.readers.image_index import SPLIT_NAMES

# Characters that do not stay in names: those that shells, Windows or lists of splits treat in their own way.
UNSAFE = re.compile(r"[^\w.\-+()= ]")
# Names of folders that say nothing about an image.
PLAIN_FOLDERS = ("images", "image", "img", "imgs", "jpegimages", "rgb")


def unique_stems(keys: Sequence[str]) -> list[str]:
    """A stem for each image path: its own where it is the only one, else its folders and its stem, joined by "__".

    Folders of splits, and those called "images", are put in front only if the others do not tell images apart.
    Images of one folder that differ in their extension alone get the extension, too, and any that are still alike, a
    number. Stems are compared without case and in the Unicode form NFC, as Windows and macOS do.
    """
    paths = [PurePosixPath(unicodedata.normalize("NFC", key)) for key in keys]
    readings = [
        [UNSAFE.sub("_", path.stem) for path in paths],
        [UNSAFE.sub("_", "__".join([*_folders(path), path.stem])) for path in paths],
        [UNSAFE.sub("_", "__".join([*path.parent.parts, path.stem])) for path in paths],
        [UNSAFE.sub("_", "__".join([*path.parent.parts, path.stem]) + path.suffix.replace(".", "_")) for path in paths],
    ]
    chosen = list(readings[0])
    for reading in readings[1:]:
        counts = Counter(stem.lower() for stem in chosen)
        chosen = [longer if counts[stem.lower()] > 1 else stem for stem, longer in zip(chosen, reading)]
    seen: Counter[str] = Counter()
    for position, stem in enumerate(chosen):
        seen[stem.lower()] += 1
        if seen[stem.lower()] > 1:
            chosen[position] = f"{stem}__{seen[stem.lower()]}"
    return chosen


def _folders(path: PurePosixPath) -> list[str]:
    """The folders that tell images apart: neither splits nor folders called "images"."""
    return [name for name in path.parent.parts if name.lower() not in (*PLAIN_FOLDERS, *SPLIT_NAMES)]
