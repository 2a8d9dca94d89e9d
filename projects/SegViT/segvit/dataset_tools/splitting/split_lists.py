"""`read_lists`: splits from text files with one image a line."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from segvit.classes.class_list import read_text
from segvit.errors import UserError

# How many names an error message lists.
MAX_LISTED = 3


def read_lists(lists: Mapping[str, Path], keys: Sequence[str]) -> list[str]:
    """The split of each image, or "" for an image that no list names.

    A line is the image's path, its name, or its name without the extension; further words on the line, such as the path
    of the mask, are not read.

    Args:
        lists: split -> file.
        keys: the images' paths within the source.

    Raises UserError if a list cannot be read, names an image twice or one that does not exist or is not unique.
    """
    by_name: dict[str, set[int]] = {}
    for position, key in enumerate(keys):
        for name in _names_of(key):
            by_name.setdefault(name, set()).add(position)
    splits = [""] * len(keys)
    for split, path in lists.items():
        if not path.is_file():
            raise UserError(f"--lists {split}={path}: the file does not exist")
        unknown = []
        for line in (line.strip() for line in read_text(path).splitlines()):
            if not line:
                continue
            found = _find(line, by_name)
            if len(found) != 1:
                unknown.append(line)
                continue
            (position,) = found
            if splits[position] not in ("", split):
                raise UserError(f"{path}: {line} is also in the list of {splits[position]}")
            splits[position] = split
        if unknown:
            listed = ", ".join(unknown[:MAX_LISTED])
            raise UserError(f"{path}: {len(unknown)} names belong to no image, or several, such as {listed}")
    return splits


def _find(line: str, by_name: Mapping[str, set[int]]) -> set[int]:
    """The images that a line names, as a whole or by its first word."""
    for text in (line, line.split()[0]):
        name = unicodedata.normalize("NFC", text.replace("\\", "/")).lstrip("./")
        for candidate in (name, PurePosixPath(name).name):
            if candidate in by_name:
                return by_name[candidate]
    return set()


def _names_of(key: str) -> set[str]:
    """The names that mean an image: its path, its name, and both without the extension."""
    path = PurePosixPath(unicodedata.normalize("NFC", key))
    return {str(path), str(path.with_suffix("")), path.name, path.stem}
