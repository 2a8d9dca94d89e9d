"""LabelMe: one JSON per image, with `shapes` that LabelMe's own rules turn into pixels."""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segvit.dataset_tools.importing.readers.coco import load_json
from segvit.dataset_tools.importing.readers.image_index import ImageIndex, annotated_size, split_of
from segvit.dataset_tools.importing.regions import Regions, add_unannotated
from segvit.dataset_tools.importing.shapes import Polygons, Shape, Stamp, rectangle
from segvit.dataset_tools.importing.source import BACKGROUND, ReadOptions, Region, Skipped, Source, SourceImage
from segvit.datasets.annotation_formats import files_under
from segvit.errors import UserError
from segvit.image_levels import DAMAGE

# Corners of the polygon that stands for a circle: less than a pixel from it up to a radius of 400.
CIRCLE_CORNERS = 128


def read_labelme(files: Sequence[Path], root: Path, options: ReadOptions) -> Source:
    """Read LabelMe's JSON files. Images without one are not annotated: they are skipped, or taken as background."""
    index = ImageIndex(options.images or root)
    source = Source("LabelMe", [], {})
    names: set[str] = set()
    annotated = set()
    for path in files:
        try:
            image = _read_file(path, root, index, source, options)
        except (UserError, KeyError, TypeError, AttributeError) as error:
            source.skipped.append(Skipped(path.relative_to(root).as_posix(), f"damaged or not LabelMe's: {error}"))
            continue
        if image is not None:
            annotated.add(image.path)
            source.images.append(image)
            assert isinstance(image.labels, Regions)
            names.update(region.class_name for region in image.labels.regions)
    source.colors = dict.fromkeys(sorted(names))
    for image_file in files_under(index.root):
        if image_file not in annotated:
            key = index.key_of(image_file)
            add_unannotated(source, key, image_file, options, split=split_of(Path(key)))
    return source


def embedded_image(path: Path) -> bytes:
    """The image file that a JSON of LabelMe holds. Raises UserError if it holds none."""
    try:
        return base64.b64decode(load_json(path)["imageData"], validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise UserError(f"{path}: damaged imageData ({error})") from error


def _read_file(path: Path, root: Path, index: ImageIndex, source: Source, options: ReadOptions) -> SourceImage | None:
    content = load_json(path)
    name = str(content["imagePath"])
    size = annotated_size(content.get("imageHeight"), content.get("imageWidth"))
    key = path.relative_to(root)
    shapes = list(_regions(content["shapes"], f"{key.as_posix()}: shape", source, options))
    labels = Regions(shapes, size)
    image = index.find(name, near=path.parent)
    if image is not None:
        return SourceImage(index.key_of(image), image, labels, split_of(Path(index.key_of(image))))
    if content.get("imageData"):
        return SourceImage(key.with_name(Path(name).name).as_posix(), path, labels, split_of(key), is_embedded=True)
    source.skipped.append(Skipped(key.as_posix(), f"there is no image {name}, or several, in {index.root}"))
    return None


def _regions(shapes: Sequence[dict[str, Any]], what: str, source: Source, options: ReadOptions) -> Iterator[Region]:
    for number, shape in enumerate(shapes, start=1):
        try:
            drawn, label = _shape(shape, options), str(shape["label"]).strip() or BACKGROUND
        except KeyError as error:
            source.skipped.append(Skipped(f"{what} {number}", f"has no {error}"))
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            source.skipped.append(Skipped(f"{what} {number}", str(error)))
        else:
            yield Region(label, drawn, what=f"{what} {number}")


def _shape(shape: dict[str, Any], options: ReadOptions) -> Shape:
    """The pixels of a shape. Raises UserError for shapes without an area."""
    kind = shape.get("shape_type") or "polygon"
    points = np.asarray(shape["points"], dtype=np.float64).reshape(-1, 2)
    if kind == "polygon" and len(points) >= 3:
        return Polygons([points], rasterizer="labelme")
    if kind == "mask" and len(points) == 2:
        return _stamp(shape["mask"], points)
    if kind == "rectangle" and len(points) == 2:
        if options.boxes == "skip":
            raise UserError("a rectangle, by --boxes skip")
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return Polygons([rectangle(left, top, right, bottom)], rasterizer="labelme")
    if kind == "circle" and len(points) == 2:
        angles = np.linspace(0, 2 * math.pi, CIRCLE_CORNERS, endpoint=False)
        radius = float(np.hypot(*(points[1] - points[0])))
        circle = points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return Polygons([circle], rasterizer="labelme")
    raise UserError(f"a {kind} of {len(points)} points has no area")


def _stamp(encoded: str, points: np.ndarray) -> Stamp:
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            mask = np.array(image).astype(bool)
    except (*DAMAGE, binascii.Error) as error:
        raise UserError(f"a damaged mask ({error})") from error
    left, top = np.rint(points[0]).astype(int).tolist()
    return Stamp(mask, left, top)
