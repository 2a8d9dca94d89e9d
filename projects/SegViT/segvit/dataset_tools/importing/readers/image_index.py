"""`ImageIndex`: the image files of a source, found by the names that annotations give them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from segvit.datasets.annotation_formats import files_under
from segvit.errors import UserError

# Folder names that mean a split, in lower case.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "train2017", "train2014"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "val2017", "val2014", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "test2017"), "test"),
}
# Label Studio puts eight hexadecimal digits in front of the names of uploaded files, writes spaces as underscores, and
# drops other characters.
UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")


def split_of(path: PurePosixPath | Path) -> str:
    """The split that a folder on the path names, or ""."""
    names = (SPLIT_NAMES.get(part.lower()) for part in path.parent.parts)
    return next((name for name in names if name), "")


def annotated_size(height: object, width: object) -> tuple[int, int] | None:
    """(H, W) of an image as an annotation says; None if it does not. Raises UserError for other things than numbers."""
    if not height or not width:
        return None
    try:
        return int(str(height)), int(str(width))
    except ValueError as error:
        raise UserError(f"a size of {width!r} x {height!r} pixels") from error


class ImageIndex:
    """All image files below a folder.

    Args:
        root: the folder.

    Raises UserError if it does not exist.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UserError(f"the folder of images {root} does not exist: name it by --images FOLDER")
        self.root = root
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        self._by_upload: dict[str, list[Path]] = {}
        for path in files_under(root):
            self._by_name.setdefault(_normal(path.name), []).append(path)
            self._by_stem.setdefault(_normal(path.stem), []).append(path)
            self._by_upload.setdefault(_uploaded(path.name), []).append(path)

    def find(self, name: str, *, near: Path | None = None, split: str = "") -> Path | None:
        """The file that an annotation calls `name`, a path or URL; None if there is none or more than one.

        Of several files with the same name the one wins that is there as seen from the folder `near`, then the one
        whose folders agree with most of the name's, then one in `near`, then one in a folder of the split.
        """
        for reading in _readings(name):
            # The same name, the same but for the extension or for the case, the same after an upload.
            files = (
                self._by_name.get(_normal(reading.name))
                or self._by_stem.get(_normal(reading.stem))
                or self._by_upload.get(_uploaded(reading.name), [])
            )
            files = [path for path in files if not reading.suffix or _same_kind(path, reading)] or files
            if files:
                return self._closest(files, reading, near, split)
        return None

    def key_of(self, path: Path) -> str:
        """A file's path within the folder."""
        return path.relative_to(self.root).as_posix()

    def _closest(self, files: list[Path], reading: PurePosixPath, near: Path | None, split: str) -> Path | None:
        def agreement(path: Path) -> tuple[bool, int, bool, bool]:
            pairs = zip(reversed(path.parent.parts), reversed(reading.parent.parts))
            same = 0
            for ours, theirs in pairs:
                if _normal(ours) != _normal(theirs):
                    break
                same += 1
            is_near = near is not None and path.is_relative_to(near)
            is_beside = near is not None and path.parent == near / reading.parent
            return is_beside, same, is_near, bool(split) and split_of(path.relative_to(self.root)) == split

        ranked = sorted(files, key=agreement, reverse=True)
        if len(ranked) > 1 and agreement(ranked[0]) == agreement(ranked[1]):
            return None
        return ranked[0]


def _readings(name: str) -> Iterator[PurePosixPath]:
    """What a name may mean: as it stands, the path of a URL, the file of Label Studio's local storage, an upload."""
    plain = PurePosixPath(name.replace("\\", "/"))
    yield plain
    if "://" in name or "?" in name or "%" in name:
        parts = urlsplit(name)
        for value in parse_qs(parts.query).get("d", []):
            yield PurePosixPath(unquote(value))
        yield PurePosixPath(unquote(parts.path))
    uploaded = UPLOADED.fullmatch(unquote(plain.name))
    if uploaded:
        yield PurePosixPath(uploaded[1])


def _same_kind(path: Path, reading: PurePosixPath) -> bool:
    return path.suffix.lower() == reading.suffix.lower()


def _uploaded(name: str) -> str:
    """A name as web servers store it, in lower case: Django's rule for names of uploaded files."""
    return re.sub(r"[^-\w.]", "", _normal(name).strip().replace(" ", "_")).lower()


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)
