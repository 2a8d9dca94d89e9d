"""Masks as images: PASCAL VOC, colours, binary masks and ids of any numbering, of which one reader finds the kind."""

from __future__ import annotations

from pathlib import Path

from segvit.classes.palette import Color, voc_colors
from segvit.dataset_tools.importing.class_files import NamesAndColors, find_class_list
from segvit.dataset_tools.importing.readers.mask_pairs import MaskPair, pair_masks
from segvit.dataset_tools.importing.readers.mask_values import (
    FROM_ONE,
    IGNORED_PIXEL,
    MAX_COLORS,
    MaskFile,
    MaskImage,
    MaskKind,
    MaskScan,
    Value,
    ignored_pixels,
    parse_ids,
    scan_masks,
)
from segvit.dataset_tools.importing.regions import Regions, add_unannotated
from segvit.dataset_tools.importing.source import Labels, ReadOptions, Region, Skipped, Source, SourceImage
from segvit.datasets.benchmarks.pascal_voc import PASCAL_VOC_CLASSES
from segvit.errors import UserError, listed

# Object borders in VOC, which are ignored.
VOC_BORDER = (224, 224, 192)
# Notes for classes that are named by their value.
NAMELESS = {
    "index": "ids have no names: --ids 1=NAME,2=NAME,... or --ids FILE, with lines such as: 7 road",
    "colors": "colours have no names: --classes FILE, with lines such as: 128 64 128 road; other colours are ignored",
}


def read_masks(root: Path, options: ReadOptions, *, kind: MaskKind | None = None) -> Source:
    """Read images and masks, of this kind or of the kind that their pixels show.

    Raises UserError if no pairs are found, or masks hold values without a class.
    """
    paired = pair_masks(root, options)
    given = list(options.class_names)
    found = None if given else find_class_list(root)
    class_list: NamesAndColors = given or (found[1] if found else [])
    scan = scan_masks(
        [pair.mask for pair in paired.pairs], kind=kind, has_many_classes=len(class_list) > 2 or bool(options.ids)
    )
    if len(scan.unreadable) == len(paired.pairs):
        raise UserError(f"{root}: no mask can be read: {scan.unreadable[0].why}")
    source = Source(f"masks ({scan.kind})", [], {}, skipped=list(paired.skipped))
    if found:
        source.notes.append(f"the classes are those of {found[0].name}")
    if scan.kind == "binary":
        foreground = class_list[-1] if class_list else ("foreground", None)
        source.colors = dict([*class_list[:-1], foreground]) if len(class_list) == 2 else {foreground[0]: foreground[1]}
        source.images = [_image(pair, _binary(pair.mask, foreground[0])) for pair in paired.pairs]
    else:
        source.unlabelled = "ignored"
        names, source.colors = _named_values(scan, class_list, options.ids, root)
        if not class_list and options.ids in ("", FROM_ONE):
            source.notes.append(NAMELESS[scan.kind])
        source.images = [_image(pair, MaskFile(pair.mask, names, scan.kind)) for pair in paired.pairs]
    for key, path in paired.unmasked:
        add_unannotated(source, key, path, options, lacks="no mask")
    return source


def read_voc(root: Path, options: ReadOptions) -> Source:
    """Read JPEGImages and SegmentationClass, with labelmap.txt or VOC's classes, and the lists of ImageSets."""
    class_list = list(options.class_names) or (find_class_list(root) or (None, []))[1]
    if not class_list:
        class_list = list(zip(PASCAL_VOC_CLASSES, voc_colors(len(PASCAL_VOC_CLASSES))))
    names: dict[Value, str | None] = {VOC_BORDER: None, IGNORED_PIXEL: None}
    for class_id, (name, color) in enumerate(class_list):
        names[class_id] = names[color or voc_colors(class_id + 1)[-1]] = name
    images = {path.stem: path for path in sorted((root / "JPEGImages").iterdir()) if path.is_file()}
    splits = _voc_splits(root)
    source = Source("PASCAL VOC", [], dict(class_list), unlabelled="ignored")
    for mask in sorted((root / "SegmentationClass").glob("*.png")):
        image = images.pop(mask.stem, None)
        if image is None:
            source.skipped.append(Skipped(f"SegmentationClass/{mask.name}", "a mask without an image"))
            continue
        key = f"JPEGImages/{image.name}"
        source.images.append(SourceImage(key, image, MaskFile(mask, names, None), splits.get(mask.stem, "")))
    unlabelled = [path.name for stem, path in images.items() if stem in splits or not splits]
    source.skipped.extend(Skipped(f"JPEGImages/{name}", "no file in SegmentationClass") for name in unlabelled)
    return source


def _voc_splits(root: Path) -> dict[str, str]:
    """Stem -> split, of ImageSets/Segmentation/{train,val,test}.txt."""
    splits = {}
    for split in ("test", "val", "train"):
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        if path.is_file():
            splits.update(
                {line.split()[0]: split for line in path.read_text(encoding="utf-8").splitlines() if line.split()}
            )
    return splits


def _image(pair: MaskPair, labels: Labels) -> SourceImage:
    return SourceImage(pair.key, pair.image, labels, pair.split)


def _binary(mask: Path, foreground: str) -> Regions:
    return Regions([Region(foreground, MaskImage(mask), may_be_empty=True)])


def _named_values(
    scan: MaskScan, class_list: NamesAndColors, ids: str, root: Path
) -> tuple[dict[Value, str | None], dict[str, Color | None]]:
    """Value -> class name or None, and the classes with their colours.

    Raises UserError if values have no class, and for colours that are none of classes.
    """
    if ids:
        if scan.kind == "colors":
            raise UserError("--ids is for masks of ids, but these have colours: list them with --classes FILE")
        names = parse_ids(ids, [name for name, _ in class_list], scan.values)
        colors = dict(class_list)
        return names, {name: colors.get(name) for name in names.values() if name is not None}
    if scan.kind == "colors":
        return _named_colors(scan, class_list, root)
    # Ids below 0 mean ignored pixels; drawing lists them.
    values = sorted(value for value in scan.values if isinstance(value, int) and value >= 0)
    ignored = ignored_pixels(len(class_list), values)
    if not class_list:
        named: dict[Value, str | None] = {value: f"class {value}" for value in values if value not in ignored}
        return named | ignored, {name: None for name in named.values() if name}
    numbered: dict[Value, str | None] = {number: name for number, (name, _) in enumerate(class_list)}
    unnamed = [value for value in values if value not in numbered and value not in ignored]
    if unnamed:
        raise UserError(
            f"{root}: masks hold ids from {values[0]} to {values[-1]}, and {listed(unnamed)} are not among the "
            f"{len(class_list)} classes, which are numbered from 0: is 0 void (--ids from-one), or have the classes "
            "other ids (--ids 0=ignore,7=road,... or --ids FILE with lines such as: 7 road)?"
        )
    return numbered | ignored, dict(class_list)


def _named_colors(
    scan: MaskScan, class_list: NamesAndColors, root: Path
) -> tuple[dict[Value, str | None], dict[str, Color | None]]:
    if class_list and all(color is not None for _, color in class_list):
        names: dict[Value, str | None] = {color: name for name, color in class_list if color is not None}
        if not set(scan.values) & set(names):
            raise UserError(f"{root}: no colour of masks is in the list of classes; they have {listed(scan.values)}")
        return names, dict(class_list)
    if class_list or len(scan.values) > MAX_COLORS:
        raise UserError(
            f"{root}: masks have {len(scan.values)} colours, such as {listed(scan.values)}: name those of classes in "
            "a classes.json (see docs/custom_data.md), and give it by --classes"
        )
    colors = [value for value in sorted(scan.values, key=str) if not isinstance(value, int)]
    unlisted: dict[Value, str | None] = {color: "color {:02x}{:02x}{:02x}".format(*color) for color in colors}
    return unlisted, {str(unlisted[color]): color for color in colors}
