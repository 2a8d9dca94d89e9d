"""Label Studio: its JSON export, full or minimal, with polygons, brushes, rectangles and ellipses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segvit.dataset_tools.importing.readers.brush import decode_brush
from segvit.dataset_tools.importing.readers.coco import load_json, split_of_file
from segvit.dataset_tools.importing.readers.image_index import ImageIndex, annotated_size, split_of
from segvit.dataset_tools.importing.regions import Regions
from segvit.dataset_tools.importing.shapes import Ellipse, Polygons, Shape, Stamp, rectangle
from segvit.dataset_tools.importing.source import ReadOptions, Region, Skipped, Source, SourceImage
from segvit.errors import UserError

# Types of results that are regions, and where their values hold the class.
REGION_TYPES = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif")


def read_label_studio(files: Sequence[Path], root: Path, options: ReadOptions) -> Source:
    """Read exports of Label Studio. Tasks without an annotation are skipped; one without a region is background.

    Of several annotations of a task, the ground truth is taken, else the last that was not cancelled.
    """
    index = ImageIndex(options.images or root)
    source = Source("Label Studio", [], {})
    names: set[str] = set()
    for path in files:
        content = load_json(path)
        if not isinstance(content, list):
            raise UserError(f"{path}: an export of Label Studio is a list of tasks")
        for number, task in enumerate(content, start=1):
            try:
                image = _read_task(task, path, index, source, options)
            except (AttributeError, TypeError, KeyError) as error:
                source.skipped.append(Skipped(f"{path.name}: task {number}", f"damaged or not a task: {error}"))
                continue
            if image is not None:
                source.images.append(image)
                assert isinstance(image.labels, Regions)
                names.update(region.class_name for region in image.labels.regions)
    source.colors = dict.fromkeys(sorted(names))
    return source


def _read_task(
    task: Mapping[str, Any], path: Path, index: ImageIndex, source: Source, options: ReadOptions
) -> SourceImage | None:
    what = f"task {task.get('id', '?')}"
    name = _image_name(task)
    image = index.find(name, near=path.parent) if name else None
    if image is None:
        source.skipped.append(Skipped(f"{what}: {name}", f"there is no such image, or several, in {index.root}"))
        return None
    results = _results(task, what, source)
    key = index.key_of(image)
    if results is None and options.unannotated == "skip":
        source.skipped.append(Skipped(key, "no annotation; --unannotated background takes it as background"))
        return None
    regions = list(_regions(results or [], f"{key}: ", source, options))
    sizes = {annotated_size(it.get("original_height"), it.get("original_width")) for it in results or []} - {None}
    return SourceImage(key, image, Regions(regions, sizes.pop() if len(sizes) == 1 else None), _split(path, key))


def _split(path: Path, key: str) -> str:
    return split_of_file(path) or split_of(Path(key))


def _image_name(task: Mapping[str, Any]) -> str:
    """The value of the task's data that is an image's address; the minimal export has the data in the task itself."""
    data = task.get("data", task)
    texts = [value for value in data.values() if isinstance(value, str)]
    named = data.get("image") or next((it for it in texts if it.lower().endswith(IMAGE_ENDINGS)), "")
    return str(named)


def _results(task: Mapping[str, Any], what: str, source: Source) -> list[dict[str, Any]] | None:
    """The results of the annotation to use; None if there is none."""
    if "annotations" not in task and "completions" not in task:
        return _minimal_results(task)
    annotations = [it for it in task.get("annotations") or task.get("completions") or [] if not it.get("was_cancelled")]
    chosen = [it for it in annotations if it.get("ground_truth")] or annotations[-1:]
    if len(annotations) > 1:
        source.notes.append(f"{what}: annotation {chosen[0].get('id', '?')} of {len(annotations)} is used")
    return chosen[0]["result"] if chosen else None


def _minimal_results(task: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The minimal export has a list of values for each tag of the labelling interface."""
    lists = [value for value in task.values() if isinstance(value, list)]
    values = [item for value in lists for item in value if isinstance(item, dict)]
    if not lists:
        return None
    kinds = [next((kind for kind in REGION_TYPES if kind in value), "") for value in values]
    return [{**value, "type": kind, "value": value} for value, kind in zip(values, kinds) if kind]


def _regions(
    results: Sequence[Mapping[str, Any]], prefix: str, source: Source, options: ReadOptions
) -> Iterator[Region]:
    for number, result in enumerate(results, start=1):
        kind = result.get("type", "")
        what = f"{prefix}result {number}"
        if kind not in REGION_TYPES:
            source.skipped.append(Skipped(what, f"{kind or 'without a type'}: covers no area"))
            continue
        try:
            value = result["value"]
            shape = _shape(kind, value, (int(result["original_height"]), int(result["original_width"])), options)
            names = value.get(kind) or []
            if len(names) != 1:
                raise UserError(f"needs one label, not {names}")
        except (ValueError, KeyError, TypeError) as error:
            source.skipped.append(Skipped(what, f"{kind}: {error}"))
            continue
        yield Region(str(names[0]).strip(), shape, what=what)


def _shape(kind: str, value: Mapping[str, Any], size: tuple[int, int], options: ReadOptions) -> Shape:
    """Coordinates are in per cent of the image's width and height."""
    scale = np.array([size[1], size[0]], dtype=np.float64) / 100
    if kind == "brushlabels":
        return Stamp(decode_brush(value["rle"], size))
    if kind == "polygonlabels":
        points = np.asarray(value["points"], dtype=np.float64).reshape(-1, 2) * scale
        if len(points) < 3:
            raise UserError("a polygon needs three points")
        return Polygons([points])
    x, y = float(value["x"]) * scale[0], float(value["y"]) * scale[1]
    rotation = float(value.get("rotation") or 0)
    if kind == "ellipselabels":
        return Ellipse((x, y), (float(value["radiusX"]) * scale[0], float(value["radiusY"]) * scale[1]), rotation)
    if options.boxes == "skip":
        raise UserError("a rectangle, by --boxes skip")
    right, bottom = x + float(value["width"]) * scale[0], y + float(value["height"]) * scale[1]
    # Label Studio rotates a rectangle about its top left corner.
    return Polygons([rectangle(x, y, right, bottom, rotation, pivot=np.array([x, y]))])
