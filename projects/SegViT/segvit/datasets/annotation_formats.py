"""`detect_formats`: which annotation tools' exports a folder or file holds, by names and the beginnings of files.

`import_hint` names the command that converts them, for messages where a dataset folder is expected.
"""

from __future__ import annotations

import itertools
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segvit.datasets.pairs import IMAGE_EXTENSIONS

# Annotation files that are looked at; a tool writes one kind.
MAX_SNIFFED = 64
# The beginning of a file in which its format shows.
HEAD = 1 << 16
YOLO_LINE = re.compile(rb"(?:\xef\xbb\xbf)?\d+(?:\.0+)?( +-?\d*\.?\d+(e-?\d+)?){4,}\s*$")
# Folders and names of images' masks, such as masks/, train_labels/ and a_gt.png.
MASK_WORDS = (
    r"segmentationclass(?:raw)?|segmentations?|groundtruths?|ground_truth|annotations?|annots?|masks?|labels?|"
    r"labelids|labeltrainids|seg|gt|anno"
)
MASK_NAME = re.compile(
    rf"^(?:{MASK_WORDS})(?=[_\-. ]|$)|(?:(?<=[_\-. ])|^|(?<=train)|(?<=val)|(?<=test))(?:{MASK_WORDS})$", re.IGNORECASE
)
# The XML of LabelMe's web page, which is recognized to say that it is not read.
WEB_LABELME = "labelme_xml"
COMMAND = "python projects/SegViT/tools/import_dataset.py"


@dataclass(frozen=True)
class DetectedFormat:
    """A format, its title for messages, and the annotation files that show it."""

    name: str
    title: str
    files: tuple[Path, ...]


TITLES = {
    "coco": "COCO",
    "labelme": "LabelMe",
    "cvat": "CVAT for images",
    "label_studio": "Label Studio",
    "yolo": "YOLO",
    "voc": "PASCAL VOC",
    "masks": "images and masks",
    WEB_LABELME: "the web LabelMe (XML)",
}


def detect_formats(source: Path) -> list[DetectedFormat]:
    """The formats of a folder, or of one annotation file; masks only if there is no other."""
    if source.is_file():
        name = _format_of_file(source)
        return [DetectedFormat(name, TITLES[name], (source,))] if name else []
    files: dict[str, list[Path]] = {}
    for path in itertools.islice(files_under(source, (".json", ".xml")), MAX_SNIFFED):
        name = _format_of_file(path)
        if name:
            files.setdefault(name, []).append(path)
    if "labelme" in files:
        files["labelme"] = list(files_under(source, (".json",)))
    if not files and _is_voc(source):
        files["voc"] = []
    if not files:
        yolo = _yolo_files(source)
        if yolo:
            files["yolo"] = yolo
    if not files and _has_masks(source):
        files["masks"] = []
    return [DetectedFormat(name, TITLES[name], tuple(found)) for name, found in files.items()]


def import_hint(source: str | os.PathLike[str]) -> str:
    """ "; FOLDER looks like COCO: ... converts it" if a folder or file is a tool's export, else ""."""
    path = Path(source)
    detected = [it for it in detect_formats(path) if it.name != WEB_LABELME] if path.exists() else []
    if not detected:
        return ""
    titles = " and ".join(it.title for it in detected)
    return f"; it looks like an export of {titles}: {COMMAND} {path} NEW_FOLDER makes a folder of it"


def files_under(folder: Path, extensions: tuple[str, ...] = IMAGE_EXTENSIONS) -> Iterator[Path]:
    """Files with these extensions below a folder, sorted; without hidden files and folders.

    Links to folders are followed, but not to one that holds the link.
    """
    for current, subfolders, names in os.walk(folder, followlinks=True):
        visible = sorted(name for name in subfolders if not name.startswith((".", "__MACOSX")))
        subfolders[:] = [name for name in visible if not _holds_itself(Path(current, name))]
        for name in sorted(names):
            if name.lower().endswith(extensions) and not name.startswith("."):
                yield Path(current, name)


def _holds_itself(folder: Path) -> bool:
    """Whether a folder is a link to one of the folders that it is in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _format_of_file(path: Path) -> str:
    """The format that an annotation file shows, or ""."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            if path.suffix.lower() == ".xml":
                if b"<annotation>" in head and b"<pt>" in head:
                    return WEB_LABELME
                is_cvat = b"<annotations>" in head and (b"<meta>" in head or b"<image " in head)
                return "cvat" if is_cvat else ""
            if not head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"{", b"[")):
                return ""
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _format_of_json(head, content)
    except (OSError, ValueError):
        return ""


def _format_of_json(head: bytes, content: mmap.mmap) -> str:
    def has(*words: bytes) -> bool:
        return all(content.find(b'"' + word + b'"') >= 0 for word in words)

    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"["):
        is_full = has(b"data") and (has(b"annotations") or has(b"completions"))
        return "label_studio" if is_full or has(b"polygonlabels") or has(b"brushlabels") else ""
    if has(b"images", b"annotations", b"categories"):
        return "coco"
    return "labelme" if has(b"shapes", b"imagePath") else ""


def _is_voc(folder: Path) -> bool:
    return (folder / "SegmentationClass").is_dir() and (folder / "JPEGImages").is_dir()


def _yolo_files(folder: Path) -> list[Path]:
    """data.yaml and a text file of labels; empty if the folder is not YOLO's."""
    texts = itertools.islice(files_under(folder, (".txt",)), 100 * MAX_SNIFFED)
    labels = next((path for path in texts if is_yolo_text(path) and _labels_an_image(path, folder)), None)
    lists = [path for path in (folder / "data.yaml", folder / "dataset.yaml") if path.is_file()]
    return [*(lists or sorted(folder.glob("*.yaml"))), labels] if labels is not None else []


def _labels_an_image(text: Path, folder: Path) -> bool:
    """Whether a text file is in a folder "labels", or beside an image of its name: others hold other numbers."""
    beside = (text.with_suffix(extension) for extension in IMAGE_EXTENSIONS)
    return "labels" in text.relative_to(folder).parts or any(path.is_file() for path in beside)


def is_yolo_text(path: Path) -> bool:
    """Whether the first line that is not empty is a polygon or box of YOLO."""
    with path.open("rb") as file:
        return YOLO_LINE.match(file.read(HEAD).lstrip(b"\r\n").partition(b"\n")[0]) is not None


def _has_masks(folder: Path) -> bool:
    """Whether some images are masks by their names or folders, and others are not."""
    kinds = set()
    for path in itertools.islice(files_under(folder), 100 * MAX_SNIFFED):
        within = path.relative_to(folder)
        kinds.add(any(MASK_NAME.search(part) for part in (*within.parent.parts, within.stem)))
        if len(kinds) == 2:
            return True
    return False
