"""`pair_masks`: images and their masks, in any folders, by names that agree but for words such as "mask"."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from segvit.dataset_tools.importing.readers.image_index import split_of
from segvit.dataset_tools.importing.source import ReadOptions, Skipped
from segvit.datasets.annotation_formats import MASK_NAME, files_under
from segvit.datasets.pairs import IMAGE_EXTENSIONS
from segvit.errors import UserError

# Words at the start or end of a folder's or file's name that say that it holds images; those for masks: `MASK_NAME`.
IMAGE_WORDS = r"jpegimages|images?|imgs?|rgb|photos?|frames?"
IMAGE_NAME = re.compile(rf"^(?:{IMAGE_WORDS})(?=[_\-. ]|$)|(?:(?<=[_\-. ])|^)(?:{IMAGE_WORDS})$", re.IGNORECASE)


@dataclass(frozen=True)
class MaskPair:
    """An image and its mask; `key` is the image's path within the source."""

    key: str
    image: Path
    mask: Path
    split: str


@dataclass(frozen=True)
class PairedFiles:
    """The pairs, the images without a mask as (key, image), and what is skipped."""

    pairs: list[MaskPair]
    unmasked: list[tuple[str, Path]]
    skipped: list[Skipped]


def pair_masks(root: Path, options: ReadOptions) -> PairedFiles:
    """Pair the files below `root`, or those of the folders --images and --masks.

    A file is a mask if a folder on its path or its own name has a word such as "masks", "annotations" or "_gt", or the
    suffix --mask-suffix. Image and mask belong together if their paths agree without these words.

    Raises UserError if there is no pair, or --images or --masks is missing.
    """
    if bool(options.images) != bool(options.masks):
        raise UserError("--images and --masks belong together: name both folders")
    images, masks = _separate(root, options)
    if not images or not masks:
        kind = "images" if not images else "masks"
        raise UserError(
            f"{root}: no {kind} found: masks are in a folder such as masks/ or annotations/, or end in _mask or _gt; "
            "name the folders by --images FOLDER --masks FOLDER, or the suffix by --mask-suffix _TEXT"
        )
    pairs, unmasked, skipped = [], [], []
    for key, files in images.items():
        found = masks.pop(key, [])
        names = [_within(path, root) for path in files]
        if len(files) > 1 or len(found) > 1:
            what = ", ".join(names + [_within(path, root) for path in found])
            skipped.append(Skipped(what, "several files for one image and mask: give them different names"))
        elif found:
            pairs.append(MaskPair(names[0], files[0], found[0], split_of(Path(names[0]))))
        else:
            unmasked.append((names[0], files[0]))
    for found in masks.values():
        skipped.extend(Skipped(_within(path, root), "a mask without an image") for path in found)
    if not pairs:
        sample = f"{_within(next(iter(images.values()))[0], root)} and {skipped[0].what}"
        raise UserError(f"{root}: no image and mask have the same name, such as {sample}: give --mask-suffix _TEXT")
    return PairedFiles(pairs, unmasked, skipped)


def has_pairs(root: Path, options: ReadOptions) -> bool:
    """Whether most masks belong to an image of the same name; otherwise there is one mask per object."""
    images, masks = _separate(root, options)
    return 2 * len(set(images) & set(masks)) >= len(masks)


def is_mask(path: Path) -> bool:
    """Whether a path within a source has a word for masks."""
    return any(MASK_NAME.search(part) for part in (*path.parent.parts, path.stem))


def _separate(root: Path, options: ReadOptions) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """The images and the masks by key."""
    if options.images and options.masks:
        listed = [(path, path.relative_to(options.images), False) for path in files_under(options.images)]
        listed += [(path, path.relative_to(options.masks), True) for path in files_under(options.masks)]
    else:
        listed = [(path, (short := path.relative_to(root)), _is_mask(short, options)) for path in files_under(root)]
    images: dict[str, list[Path]] = {}
    masks: dict[str, list[Path]] = {}
    for path, short, belongs_to_masks in listed:
        (masks if belongs_to_masks else images).setdefault(_key(short, options.mask_suffix), []).append(path)
    return images, masks


def _is_mask(short: Path, options: ReadOptions) -> bool:
    return short.stem.endswith(options.mask_suffix) if options.mask_suffix else is_mask(short)


def _key(short: Path, mask_suffix: str) -> str:
    """The path without its extension and the words for images and masks."""
    stem = short.stem.removesuffix(mask_suffix) if mask_suffix else short.stem
    if Path(stem).suffix.lower() in IMAGE_EXTENSIONS:  # a.jpg.png is the mask of a.jpg
        stem = Path(stem).stem
    parts = [_without_words(part) for part in (*short.parent.parts, stem)]
    return unicodedata.normalize("NFC", "/".join(part for part in parts if part))


def _without_words(part: str) -> str:
    """A name without words for images and masks."""
    return IMAGE_NAME.sub("", MASK_NAME.sub("", part)).strip("_-. ")


def _within(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
