"""YOLO segmentation: a text file per image with `class x1 y1 x2 y2 ...` relative to the image's size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from segvit.classes.class_list import read_text
from segvit.dataset_tools.importing.readers.image_index import ImageIndex, split_of
from segvit.dataset_tools.importing.regions import Regions
from segvit.dataset_tools.importing.shapes import Polygons, rectangle
from segvit.dataset_tools.importing.source import (
    Canvas,
    DrawingRules,
    ReadOptions,
    Region,
    Skipped,
    Source,
    SourceImage,
)
from segvit.datasets.annotation_formats import files_under, is_yolo_text
from segvit.errors import UserError


@dataclass(frozen=True)
class YoloText:
    """The lines of a file; they are turned into pixels when the size of the image is known."""

    path: Path | None
    names: Mapping[int, str]
    fills_boxes: bool
    size: tuple[int, int] | None = None

    def draw(self, size: tuple[int, int], class_ids: Mapping[str, int], rules: DrawingRules) -> Canvas:
        """See `Labels`. Raises UserError if the file is no text in UTF-8."""
        skipped: list[Skipped] = []
        canvas = Regions(list(self._regions(size, skipped))).draw(size, class_ids, rules)
        return Canvas(canvas.ids, skipped + canvas.skipped)

    def _regions(self, size: tuple[int, int], skipped: list[Skipped]) -> Iterator[Region]:
        lines = _text(self.path).splitlines() if self.path is not None else []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield self._region(line.split(), size, f"line {number}")
            except (ValueError, IndexError) as error:
                skipped.append(Skipped(f"line {number}", str(error)))

    def _region(self, words: Sequence[str], size: tuple[int, int], what: str) -> Region:
        class_id = int(float(words[0]))
        if class_id not in self.names:
            raise UserError(f"class {class_id} is not among the {len(self.names)} names")
        values = np.array(words[1:], dtype=np.float64)
        scale = np.array([size[1], size[0]], dtype=np.float64)
        if len(values) == 4:
            if not self.fills_boxes:
                raise UserError("a box without a polygon; --boxes fill draws it")
            center, extent = values[:2] * scale, values[2:] * scale
            corners = rectangle(*(center - extent / 2), *(center + extent / 2))
            return Region(self.names[class_id], Polygons([corners]), what=what)
        if len(values) < 6 or len(values) % 2:
            raise UserError(f"{len(values)} coordinates are no polygon")
        polygon = values.reshape(-1, 2) * scale
        return Region(self.names[class_id], Polygons([polygon], rasterizer="yolo"), what=what)


def read_yolo(files: Sequence[Path], root: Path, options: ReadOptions) -> Source:
    """Read a YOLO dataset: `labels/.../a.txt`, or `a.txt` beside it, belongs to `images/.../a.jpg`.

    Images without a file are background.

    Args:
        files: data.yaml, the list of names; classes.txt, or --classes, serves, too.
        root: the folder.
        options: of the command.
    """
    names = dict(enumerate(name for name, _ in options.class_names)) or _names(files, root)
    index = ImageIndex(options.images or root)
    source = Source("YOLO", [], dict.fromkeys(names.values()))
    images = {_key(Path(index.key_of(image))) for image in files_under(index.root)}
    texts = {
        key: path
        for path in files_under(root, (".txt",))
        if (key := _key(path.relative_to(root))) in images
        or "labels" in path.relative_to(root).parts
        or is_yolo_text(path)
    }
    for image in files_under(index.root):
        key = index.key_of(image)
        labels = YoloText(texts.pop(_key(Path(key)), None), names, options.boxes == "fill")
        source.images.append(SourceImage(key, image, labels, split_of(Path(key))))
    for path in texts.values():
        source.skipped.append(Skipped(path.relative_to(root).as_posix(), f"there is no such image in {index.root}"))
    return source


def _names(files: Sequence[Path], root: Path) -> dict[int, str]:
    for path in files:
        if path.suffix in (".yaml", ".yml"):
            try:
                names = yaml.safe_load(_text(path)).get("names", [])
                numbered = names.items() if isinstance(names, dict) else enumerate(names)
                return {int(number): str(name) for number, name in sorted(numbered)}
            except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
                raise UserError(f"{path}: damaged or not YOLO's ({error})") from error
    for path in (root / "classes.txt", root / "labels" / "classes.txt"):
        if path.is_file():
            return dict(enumerate(_text(path).splitlines()))
    raise UserError(f"{root}: no data.yaml with names and no classes.txt: name the classes by --classes")


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _key(path: Path) -> str:
    """The path without its extension and the folder `images` or `labels`."""
    return "/".join(part for part in path.with_suffix("").parts if part not in ("images", "labels"))
