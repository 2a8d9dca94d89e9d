"""`MaskFile`: a mask whose pixels are class ids or colours; `scan_masks` finds which values masks hold.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from segvit.classes.palette import Color
from segvit.data.label_reading import LOSSY_FORMATS, read_levels
from segvit.dataset_tools.importing.class_files import read_ids
from segvit.dataset_tools.importing.shapes import Placed
from segvit.dataset_tools.importing.source import IGNORED, Canvas, DrawingRules, Skipped
from segvit.dataset_tools.preparation.readers import DamagedFileError
from segvit.errors import UserError
from segvit.image_reading import open_image
from segvit.images.channel_files import stored_form
from segvit.progress import progress_bar

MaskKind = Literal["colors", "binary", "index"]
# An id or a colour.
Value = int | Color
# In masks that JPEG has changed, this many pixels are within LOSSY_MARGIN of black or white.
LOSSY_FRACTION, LOSSY_MARGIN = 0.97, 48
# More different colours than this are no colours of classes, but a photo or a mask with blurred borders.
MAX_COLORS = 256
FROM_ONE = "from-one"
# Ignored pixels; the larger one in masks of 16 bits, whose classes may have the smaller one as id.
IGNORED_PIXEL, IGNORED_PIXEL_OF_16_BITS = 255, 65535


@dataclass(frozen=True)
class MaskFile:
    """A mask and the class name of each value; None means ignored.

    The kind None is for masks of which each may have ids or colours.
    """

    path: Path
    names: Mapping[Value, str | None]
    kind: MaskKind | None

    @property
    def size(self) -> tuple[int, int]:
        """See `Labels`; read from the file."""
        return stored_form(self.path).size

    def draw(self, size: tuple[int, int], class_ids: Mapping[str, int], rules: DrawingRules) -> Canvas:
        """See `Labels`. Values without a class are ignored, and listed."""
        levels = read_levels(self.path)
        kind = self.kind or ("colors" if levels.ndim == 3 else "index")
        values, indices = _values_of(levels, kind)
        if indices.shape != size:
            height, width = indices.shape
            raise UserError(f"{self.path}: {width} x {height} pixels, but the image has {size[1]} x {size[0]}")
        skipped = []
        counts = np.bincount(indices.ravel(), minlength=len(values))
        table = np.full(len(values), IGNORED, dtype=np.int32)
        for position, value in enumerate(values):
            name = self.names.get(value, "")
            if name and name in class_ids:
                table[position] = class_ids[name]
            elif name is not None:
                share = 100 * counts[position] / indices.size
                skipped.append(Skipped(f"{kind} value {value}", f"has no class: {share:.2g} % ignored"))
        return Canvas(table[indices], skipped)


@dataclass(frozen=True)
class MaskImage:
    """A shape: the pixels of a mask file that are brighter than half."""

    path: Path

    def place(self, size: tuple[int, int]) -> Placed:
        """See `Shape`. Raises DamagedFileError if the file is damaged or has another size than the image."""
        try:
            with open_image(self.path) as image:
                levels = np.asarray(image.convert("L")) if image.mode not in ("1", "P") else read_levels(self.path)
        except (OSError, UserError) as error:
            raise DamagedFileError(self.path, f"cannot be read: {error}") from error
        if levels.ndim != 2 or levels.shape != size:
            given = f"{levels.shape[1]} x {levels.shape[0]}"
            raise DamagedFileError(self.path, f"{given} pixels, but the image has {size[1]} x {size[0]}")
        mask = levels >= 128 if levels.max(initial=0) > 1 and levels.dtype != bool else levels > 0
        return Placed(mask, 0, 0)


@dataclass(frozen=True)
class MaskScan:
    """The kind of masks, their values by frequency, and the files that cannot be read."""

    kind: MaskKind
    values: list[Value]
    unreadable: list[Skipped]


def scan_masks(paths: Sequence[Path], *, kind: MaskKind | None, has_many_classes: bool) -> MaskScan:
    """Read all masks and decide their kind, unless it is given.

    Colours, if a mask has three different channels; binary, if all values are 0 and 255 or 0 and 1, in JPEGs nearly so,
    and no list names more than two classes; else ids.
    """
    grey, colors = Counter[Value](), Counter[Value]()
    unreadable = []
    is_colored = is_lossy = False
    for path in progress_bar(paths, title="reading masks", unit="mask", leave=False):
        try:
            levels = read_levels(path)
        except (UserError, OSError) as error:
            if _is_nearly_binary(path):
                is_lossy = True
            else:
                unreadable.append(Skipped(path.name, str(error)))
            continue
        mask_is_colored = levels.ndim == 3 and levels.shape[2] >= 3 and _has_colors(levels)
        is_colored |= mask_is_colored
        if levels.ndim == 3 and levels.shape[2] >= 3:
            colors.update(dict.fromkeys(_values_of(levels, "colors")[0], 1))
        if not mask_is_colored:
            grey.update(dict.fromkeys(_values_of(levels, "index")[0], 1))
    found = kind or ("colors" if is_colored else "index")
    is_binary = is_lossy or set(grey) in ({0, 255}, {0, 1}, {255}, {0, 1, 255})
    if kind is None and not is_colored and is_binary and not has_many_classes:
        found = "binary"
    values = [value for value, _ in (colors if found == "colors" else grey).most_common()]
    return MaskScan(found, values, unreadable)


def ignored_pixels(num_classes: int, values: Sequence[Value]) -> dict[Value, str | None]:
    """The ids of ignored pixels, each with None: 255 is none of them if there are classes of larger ids.

    Args:
        num_classes: in the list of classes; 0 without one.
        values: that occur in the masks.
    """
    largest = max((value for value in values if isinstance(value, int) and value < IGNORED_PIXEL_OF_16_BITS), default=0)
    has_larger_ids = num_classes > IGNORED_PIXEL or (not num_classes and largest > IGNORED_PIXEL)
    return dict.fromkeys([IGNORED_PIXEL_OF_16_BITS] + ([] if has_larger_ids else [IGNORED_PIXEL]))


def parse_ids(text: str, names: Sequence[str], values: Sequence[Value]) -> dict[Value, str | None]:
    """The value of --ids: "from-one" (0 is ignored, 1 is the first class), OLD=NAME,... or a file of ids and names.

    The name "ignore" means ignored pixels.

    Args:
        text: the option.
        names: the list of classes, if there is one.
        values: the ids that occur, for names without a list.

    Raises UserError for other texts.
    """
    if text == FROM_ONE:
        listed = names or [f"class {number}" for number in range(1, max([int(str(v)) for v in values if v != 255]) + 1)]
        numbered: dict[Value, str | None] = {0: None, IGNORED_PIXEL: None}
        numbered.update(enumerate(listed, start=1))
        return numbered
    if Path(text).is_file():
        return _with_ignored(read_ids(Path(text)))
    if not re.fullmatch(r"\d+=[^,=]+(,\d+=[^,=]+)*", text):
        expected = f"{FROM_ONE}, OLD=NAME,... such as 0=ignore,7=road,8=car, or a file with lines such as: 7 road"
        raise UserError(f"--ids {text!r} must be {expected}")
    pairs = [pair.split("=") for pair in text.split(",")]
    return _with_ignored({int(old): name.strip() for old, name in pairs})


def _with_ignored(names: Mapping[int, str]) -> dict[Value, str | None]:
    """Value -> class name; None for 255, unless it has a name, and for the name "ignore"."""
    given: dict[Value, str | None] = {value: None if name == "ignore" else name for value, name in names.items()}
    return {IGNORED_PIXEL: None} | given


def _values_of(levels: np.ndarray, kind: MaskKind) -> tuple[list[Value], np.ndarray]:
    """The values of a mask in ascending order, and the position of each pixel's (H, W)."""
    if kind != "colors":
        grey = levels if levels.ndim == 2 else levels[..., 0]
        ids, indices = np.unique(grey, return_inverse=True)
        return [int(value) for value in ids], indices.reshape(grey.shape)
    channels = np.repeat(levels[..., None], 3, axis=2) if levels.ndim == 2 else levels
    red, green, blue = (channels[..., channel].astype(np.uint32) for channel in range(3))
    codes, indices = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    colors = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes]
    return list(colors), indices.reshape(levels.shape[:2])


def _has_colors(levels: np.ndarray) -> bool:
    return bool((levels[..., 0] != levels[..., 1]).any() or (levels[..., 0] != levels[..., 2]).any())


def _is_nearly_binary(path: Path) -> bool:
    """Whether a mask in a lossy format, or an animation's first frame, is black and white."""
    try:
        with open_image(path) as image:
            if image.format not in LOSSY_FORMATS and getattr(image, "n_frames", 1) == 1:
                return False
            levels = np.asarray(image.convert("L"))
    except (OSError, UserError):
        return False
    return bool(np.mean((levels < LOSSY_MARGIN) | (levels > 255 - LOSSY_MARGIN)) >= LOSSY_FRACTION)
