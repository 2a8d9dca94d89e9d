"""COCO: instances, stuff and Roboflow's layout, with polygons and run lengths; panoptic files go to `panoptic`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from segvit.classes.palette import Color
from segvit.dataset_tools.importing.readers.image_index import SPLIT_NAMES, ImageIndex, annotated_size, split_of
from segvit.dataset_tools.importing.readers.panoptic import PanopticPng, id_text, segment_folder
from segvit.dataset_tools.importing.regions import Regions
from segvit.dataset_tools.importing.shapes import Polygons, RunLengths, Shape, rectangle
from segvit.dataset_tools.importing.source import Labels, ReadOptions, Region, Skipped, Source, SourceImage
from segvit.errors import UserError

KEYS = ("images", "annotations", "categories")


def read_coco(files: Sequence[Path], root: Path, options: ReadOptions) -> Source:
    """Read COCO files of one dataset, one for each split.

    Args:
        files: the JSON files.
        root: the folder that images are looked for in, unless `options.images` is given.
        options: of the command.

    Raises UserError if a file is not one of COCO's, or none of its images exists.
    """
    index = ImageIndex(options.images or root)
    source = Source("COCO", [], {})
    is_panoptic = False
    for path in files:
        content = load_json(path)
        if not isinstance(content, dict) or not all(_is_list_of_objects(content.get(key)) for key in KEYS):
            raise UserError(f"{path}: a COCO file is an object with {', '.join(KEYS)}, each a list of objects")
        is_panoptic |= any("segments_info" in item for item in content["annotations"][:1])
        _read_file(path, content, index, source, options)
    if is_panoptic:
        source.title, source.unlabelled = "COCO panoptic", "ignored"
    return source


def load_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError, naming it, if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path}: damaged or not JSON ({error}): export it again") from error


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _read_file(path: Path, content: dict[str, Any], index: ImageIndex, source: Source, options: ReadOptions) -> None:
    names = _class_names(path, content, source)
    of_image: dict[str, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        of_image.setdefault(id_text(annotation.get("image_id")), []).append(annotation)
    _skip_orphans(path, content, of_image, source)
    split = split_of_file(path)
    for record in content["images"]:
        name = str(record.get("file_name", ""))
        image = index.find(name, near=path.parent, split=split)
        if image is None:
            what = name or f"{path.name}: image {record.get('id', '?')} without a file_name"
            source.skipped.append(Skipped(what, f"there is no such image, or several, in {index.root}"))
            continue
        annotations = of_image.get(id_text(record.get("id")), [])
        try:
            if any("segments_info" in item for item in annotations):
                labels: Labels = PanopticPng.of_annotation(annotations[0], segment_folder(path), names)
            else:
                size = annotated_size(record.get("height"), record.get("width"))
                regions = list(_regions(annotations, names, f"{path.name}: annotation", source, options))
                labels = Regions(regions, size)
        except UserError as error:
            source.skipped.append(Skipped(name, f"its annotation has {error}"))
            continue
        source.images.append(SourceImage(index.key_of(image), image, labels, split or split_of(PurePosixPath(name))))


def _skip_orphans(
    path: Path, content: dict[str, Any], of_image: dict[str, list[dict[str, Any]]], source: Source
) -> None:
    """List the annotations of images that the file does not name."""
    listed = {id_text(it.get("id")) for it in content["images"]}
    orphans = [image for image in of_image if image not in listed]
    count = sum(len(of_image[image]) for image in orphans)
    if count:
        what = f"{path.name}: {count} annotation{'s' if count > 1 else ''}"
        source.skipped.append(Skipped(what, f"the file lists no image of the id {orphans[0]}"))


def split_of_file(path: Path) -> str:
    """The split in the name of an annotation file, such as instances_val2017.json, or of the folder that it is in."""
    words = path.stem.lower().replace("-", "_").replace(".", "_").split("_")
    named = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")
    return named or SPLIT_NAMES.get(path.parent.name.lower(), "")


def _class_names(path: Path, content: dict[str, Any], source: Source) -> dict[str, str]:
    """Category id, as text, -> name; adds the classes to the source. Ids with one name become one class."""
    categories = content["categories"]
    names: dict[str, str] = {}
    colors: dict[str, Color | None] = {}
    for category in categories:
        name = str(category.get("name", "")).strip()
        if not name or "id" not in category:
            raise UserError(f"{path}: a category needs a name and an id, not {category!r}")
        names[id_text(category["id"])] = name
        color = category.get("color")
        colors.setdefault(name, (color[0], color[1], color[2]) if isinstance(color, list) else None)
    if len(colors) < len(names):
        source.notes.append(f"{path.name}: categories with the same name are one class")
    dummy = _roboflow_root(content)
    if dummy:
        colors.pop(dummy, None)
        source.notes.append(f"{path.name}: category {dummy!r} only groups the others, and no object has it: left out")
    for name, color in colors.items():
        source.colors.setdefault(name, color)
    return names


def _roboflow_root(content: dict[str, Any]) -> str:
    """Roboflow lists first a category that is the supercategory of all others and has no object."""
    categories = content["categories"]
    if len(categories) < 2 or categories[0].get("supercategory") != "none":
        return ""
    root = categories[0]
    is_root = all(category.get("supercategory") == root["name"] for category in categories[1:])
    is_used = any(annotation.get("category_id") == root["id"] for annotation in content["annotations"])
    return str(root["name"]) if is_root and not is_used else ""


def _regions(
    annotations: Sequence[dict[str, Any]],
    names: dict[str, str],
    what: str,
    source: Source,
    options: ReadOptions,
) -> Iterator[Region]:
    for annotation in annotations:
        number = f"{what} {annotation.get('id', '?')}"
        name = names.get(id_text(annotation.get("category_id")))
        if name is None:
            source.skipped.append(Skipped(number, f"category {annotation.get('category_id')} is not in the list"))
            continue
        try:
            shape = _shape(annotation, options)
        except (ValueError, TypeError) as error:
            source.skipped.append(Skipped(number, str(error)))
            continue
        yield Region(name, shape, is_crowd=bool(annotation.get("iscrowd")), what=number)


def _shape(annotation: dict[str, Any], options: ReadOptions) -> Shape:
    """Raises UserError for an annotation without a segmentation."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return RunLengths(segmentation)
    parts = [np.asarray(part, dtype=np.float64) for part in segmentation or []]
    parts = [part.reshape(-1, 2) for part in parts if part.size >= 6 and part.size % 2 == 0]
    if parts:
        return Polygons(parts, even_odd=options.holes)
    if segmentation:
        raise UserError("a polygon needs three points")
    box = annotation.get("bbox")
    if options.boxes == "fill" and isinstance(box, list) and len(box) == 4:
        return Polygons([rectangle(box[0], box[1], box[0] + box[2], box[1] + box[3])])
    raise UserError("a box without a segmentation; --boxes fill draws it")
