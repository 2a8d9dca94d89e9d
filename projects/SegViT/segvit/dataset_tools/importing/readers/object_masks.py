"""One mask file per object: in a folder per image or per class, or named `<image>_<class>_<number>`."""

from __future__ import annotations

import re
from pathlib import Path

from segvit.dataset_tools.importing.readers.image_index import split_of
from segvit.dataset_tools.importing.readers.mask_pairs import is_mask
from segvit.dataset_tools.importing.readers.mask_values import MaskImage
from segvit.dataset_tools.importing.regions import Regions, add_unannotated
from segvit.dataset_tools.importing.source import ReadOptions, Region, Skipped, Source, SourceImage
from segvit.datasets.annotation_formats import files_under
from segvit.errors import UserError

# The class of masks whose names do not say one.
OBJECT = "object"
# A number, or a number in hexadecimal of many digits, at the end of a name.
NUMBER = re.compile(r"[_\-. ]*(?:\d+|[0-9a-f]{16,})$", re.IGNORECASE)


def read_object_masks(root: Path, options: ReadOptions) -> Source:
    """Read one mask per object; masks of an image are drawn in the order of their names.

    Layouts, by the path of a mask:
        masks/<image>/<class>_<number>.png, or <image>/masks/*.png: a folder for each image
        masks/<class>/<image>.png: a folder for each class
        masks/<image>_<class>_<number>.png

    A name without a class means the class "object". Raises UserError if no mask belongs to an image.
    """
    images, masks = _files(root, options)
    by_stem: dict[str, list[Path]] = {}
    for image in images:
        by_stem.setdefault(image.stem, []).append(image)
    regions: dict[Path, list[Region]] = {}
    source = Source("one mask per object", [], {})
    for mask in masks:
        within = mask.relative_to(options.masks or root)
        owner, name = _owner(within, by_stem)
        if owner is None:
            source.skipped.append(Skipped(within.as_posix(), "belongs to no image, or several"))
            continue
        regions.setdefault(owner, []).append(Region(name, MaskImage(mask), what=within.as_posix()))
        source.colors.setdefault(name, None)
    if not regions:
        raise UserError(f"{root}: no mask has the name of an image: see docs/custom_data.md for the layouts")
    source.colors = dict(sorted(source.colors.items()))
    for image in images:
        key = image.relative_to(options.images or root)
        if image in regions:
            source.images.append(SourceImage(key.as_posix(), image, Regions(regions[image]), split_of(key)))
        else:
            add_unannotated(source, key.as_posix(), image, options, lacks="no mask", split=split_of(key))
    return source


def _files(root: Path, options: ReadOptions) -> tuple[list[Path], list[Path]]:
    """The images and the masks."""
    if options.images and options.masks:
        return list(files_under(options.images)), list(files_under(options.masks))
    files = list(files_under(root))
    masks = [path for path in files if is_mask(path.relative_to(root))]
    chosen = set(masks)
    return [path for path in files if path not in chosen], masks


def _owner(mask: Path, by_stem: dict[str, list[Path]]) -> tuple[Path | None, str]:
    """The image of a mask, by its path within the folder of masks, and its class."""
    for folder in reversed(mask.parent.parts):
        if folder in by_stem:
            return _only(by_stem[folder]), _class_of(mask.stem)
    if mask.stem in by_stem:
        folder = mask.parent.name
        return _only(by_stem[mask.stem]), OBJECT if is_mask(Path(folder)) or not folder else folder
    parts = re.split(r"(?=[_\-. ])", mask.stem)
    for count in range(len(parts) - 1, 0, -1):
        stem = "".join(parts[:count])
        if stem in by_stem:
            return _only(by_stem[stem]), _class_of("".join(parts[count:]).lstrip("_-. "))
    return None, OBJECT


def _class_of(text: str) -> str:
    """The text without a number at its end, and words such as "mask"."""
    name = NUMBER.sub("", text).strip("_-. ")
    return name if name and not is_mask(Path(name)) else OBJECT


def _only(images: list[Path]) -> Path | None:
    return images[0] if len(images) == 1 else None
