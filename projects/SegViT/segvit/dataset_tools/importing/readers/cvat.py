"""CVAT for images 1.1: `annotations.xml` of a task, a job or a project."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

import numpy as np

from segvit.classes.palette import Color
from segvit.dataset_tools.importing.readers.image_index import SPLIT_NAMES, ImageIndex, annotated_size, split_of
from segvit.dataset_tools.importing.regions import Regions
from segvit.dataset_tools.importing.shapes import Ellipse, Polygons, Shape, Stamp, rectangle
from segvit.dataset_tools.importing.source import ReadOptions, Region, Skipped, Source, SourceImage
from segvit.errors import UserError

HEX_COLOR = re.compile(r"#([0-9a-fA-F]{6})")
# Shapes that cover pixels; the others (polylines, points, cuboids, skeletons, tags) are skipped.
AREAS = ("polygon", "box", "ellipse", "mask")
# Parts of an image element that are no shape.
NO_SHAPE = ("tag", "attribute")


def read_cvat(files: Sequence[Path], root: Path, options: ReadOptions) -> Source:
    """Read CVAT's XML files. Objects with a higher z_order lie on top.

    Raises UserError for tracks of CVAT for video, and damaged files.
    """
    index = ImageIndex(options.images or root)
    source = Source("CVAT for images", [], {})
    for path in files:
        document = _parse(path)
        if document.find("track") is not None:
            raise UserError(f"{path}: tracks of 'CVAT for video': export the task as 'CVAT for images 1.1'")
        for label in document.findall("meta//labels/label"):
            name = (label.findtext("name") or "").strip()
            if name:
                source.colors.setdefault(name, _color(label.findtext("color") or ""))
        for element in document.findall("image"):
            image = _read_image(element, path, index, source, options)
            if image is not None:
                source.images.append(image)
    return source


def _parse(path: Path) -> Element:
    """The root of an XML file without a document type: entities could make a small file fill the memory."""
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise UserError(f"{path}: has a document type, which CVAT never writes: export it again")
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: damaged or not XML ({error}): export it again") from error


def _read_image(
    element: Element, path: Path, index: ImageIndex, source: Source, options: ReadOptions
) -> SourceImage | None:
    name = element.get("name", "")
    subset = SPLIT_NAMES.get(element.get("subset", "").lower(), element.get("subset", ""))
    image = index.find(f"{element.get('subset', '')}/{name}" if subset else name, near=path.parent, split=subset)
    if image is None:
        source.skipped.append(Skipped(name, f"there is no such image, or several, in {index.root}"))
        return None
    try:
        size = annotated_size(element.get("height"), element.get("width"))
    except UserError as error:
        source.skipped.append(Skipped(name, f"its annotation has {error}"))
        return None
    regions = list(_regions(element, f"{name}: ", source, options))
    split = subset or SPLIT_NAMES.get(path.stem.lower(), "") or split_of(PurePosixPath(name))
    return SourceImage(index.key_of(image), image, Regions(regions, size), split)


def _regions(element: Element, prefix: str, source: Source, options: ReadOptions) -> Iterator[Region]:
    for number, shape in enumerate(element, start=1):
        what = f"{prefix}{shape.tag} {number}"
        label = (shape.get("label") or "").strip()
        if shape.tag in NO_SHAPE:
            continue
        if shape.tag not in AREAS or not label:
            why = "covers no area" if shape.tag not in AREAS else "has no label"
            source.skipped.append(Skipped(what, why))
            continue
        try:
            drawn, order = _shape(shape, options), int(shape.get("z_order") or 0)
        except (ValueError, TypeError) as error:
            source.skipped.append(Skipped(what, f"damaged: {error}"))
            continue
        source.colors.setdefault(label, None)
        yield Region(label, drawn, order=order, what=what)


def _shape(shape: Element, options: ReadOptions) -> Shape:
    def number(name: str) -> float:
        return float(shape.get(name, "nan"))

    if shape.tag == "polygon":
        points = np.array([pair.split(",") for pair in shape.get("points", "").split(";")], dtype=np.float64)
        if len(points) < 3:
            raise UserError("a polygon needs three points")
        return Polygons([points])
    if shape.tag == "mask":
        return _stamp(shape)
    rotation = float(shape.get("rotation", 0))
    if shape.tag == "ellipse":
        return Ellipse((number("cx"), number("cy")), (number("rx"), number("ry")), rotation)
    if options.boxes == "skip":
        raise UserError("a box, by --boxes skip")
    return Polygons([rectangle(number("xtl"), number("ytl"), number("xbr"), number("ybr"), rotation)])


def _stamp(shape: Element) -> Stamp:
    """Run lengths over the rows of the mask's box, first of pixels outside."""
    height, width = int(shape.get("height", 0)), int(shape.get("width", 0))
    lengths = np.array(shape.get("rle", "").split(","), dtype=np.int64)
    if lengths.min(initial=0) < 0 or lengths.sum() != height * width:
        raise UserError(f"run lengths of {lengths.sum()} pixels for {width} x {height}")
    covered = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return Stamp(covered.reshape(height, width), int(shape.get("left", 0)), int(shape.get("top", 0)))


def _color(text: str) -> Color | None:
    found = HEX_COLOR.fullmatch(text)
    if not found:
        return None
    red, green, blue = bytes.fromhex(found[1])
    return red, green, blue
