"""`Source`: what a reader finds in an annotation tool's export: classes, images with labels, and what is skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from segvit.classes.palette import Color
from segvit.dataset_tools.importing.shapes import Shape

# What a label map under construction holds beside class ids.
UNLABELLED, IGNORED = -1, -2
# Names of classes that mean ignored pixels in the tools that write them; compared in lower case.
IGNORED_NAMES = ("void", "ignore", "ignored", "__ignore__", "unlabeled", "unlabelled")
BACKGROUND = "background"
# LabelMe's and other tools' names of the class `BACKGROUND`.
BACKGROUND_NAMES = (BACKGROUND, "_background_", "__background__")


@dataclass(frozen=True)
class Skipped:
    """Something that is not imported: an image, an object or a class, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


def first_reason(skipped: Sequence[Skipped]) -> str:
    """The first of what is skipped, and how many more there are."""
    if not skipped:
        return "the source has none"
    more = f", and {len(skipped) - 1} more" if len(skipped) > 1 else ""
    return f"{skipped[0]}{more}"


@dataclass(frozen=True)
class DrawingRules:
    """Choices that the command's options set.

    Attributes:
        overlap: "order" draws objects in the order of the tool; "smaller" draws the smaller objects last.
        crowd: "class" labels crowds of COCO as their class, "ignored" ignores them.
    """

    overlap: Literal["order", "smaller"] = "order"
    crowd: Literal["class", "ignored"] = "class"


@dataclass(frozen=True)
class Canvas:
    """A label map under construction, and what could not be drawn.

    Attributes:
        ids: (H, W) int32 of class ids, UNLABELLED or IGNORED.
        skipped: objects.
    """

    ids: np.ndarray
    skipped: list[Skipped] = field(default_factory=list)


class Labels(Protocol):
    """The labels of one image. Picklable: worker processes draw them."""

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of the image as the annotation says, if it does."""

    def draw(self, size: tuple[int, int], class_ids: Mapping[str, int], rules: DrawingRules) -> Canvas:
        """The label map in an image of size (H, W).

        Raises:
            UserError: the labels are damaged or of another size.
            OSError: a file of them cannot be read.
        """


@dataclass(frozen=True)
class Region:
    """One object: its class, its shape, its place in the drawing order, whether it is a crowd, and its name.

    `may_be_empty`: a mask without a covered pixel is nothing to report.
    """

    class_name: str
    shape: Shape
    order: int = 0
    is_crowd: bool = False
    what: str = "object"
    may_be_empty: bool = False


@dataclass(frozen=True)
class SourceImage:
    """An image and its labels.

    Attributes:
        key: the image's path within the source, for names and messages.
        path: the image file, or the JSON of LabelMe that holds it (`is_embedded`).
        split: "train", "val", "test" or another name, or "" if the source does not say.
    """

    key: str
    path: Path
    labels: Labels
    split: str = ""
    is_embedded: bool = False


@dataclass
class Source:
    """An export as a reader finds it.

    Attributes:
        title: the format, for messages.
        colors: class name -> colour or None, in the order of the source.
        unlabelled: what pixels without an object are: "background" or "ignored".
        notes: what the reader decided.
    """

    title: str
    images: list[SourceImage]
    colors: dict[str, Color | None]
    unlabelled: Literal["background", "ignored"] = "background"
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ReadOptions:
    """Options of the command that readers take.

    Attributes:
        images, masks: folders of the images and masks, if they are not in the source.
        mask_suffix: ends the stems of masks, such as "_gt".
        class_names: names given by --classes, with colours if they have any.
        ids: --ids, see `mask_values.parse_ids`.
        boxes: "fill" draws boxes, "skip" does not, "" leaves it to the reader.
        holes: polygons within a polygon of the same COCO object are holes.
        unannotated: images without annotation are skipped, or taken as background.
    """

    images: Path | None = None
    masks: Path | None = None
    mask_suffix: str = ""
    class_names: Sequence[tuple[str, Color | None]] = ()
    ids: str = ""
    boxes: Literal["", "fill", "skip"] = ""
    holes: bool = False
    unannotated: Literal["skip", "background"] = "skip"
