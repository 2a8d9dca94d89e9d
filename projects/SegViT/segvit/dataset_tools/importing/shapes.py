"""Shapes that annotation tools draw, as masks of pixels: each by the rule of the tool that drew it.

Shape shorthand: H x W pixels of the image, h x w pixels of a mask, N points of a polygon as (x, y) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from segvit.errors import UserError

# How a polygon becomes pixels. "coco": pycocotools' rule, which takes the pixels whose centres are inside; COCO, CVAT
# and Label Studio use it. "labelme": Pillow's filled polygon with its outline. "yolo": OpenCV's `fillPoly` of the
# points rounded down.
Rasterizer = Literal["coco", "labelme", "yolo"]
# Polygons that reach farther beyond the image, in pixels and in sizes of the image, are errors of a tool.
MIN_REACH, MAX_REACH = 1000, 4

Points = np.ndarray


class Placed(NamedTuple):
    """A mask (h, w) bool with its top left pixel in the image; it may reach beyond the image."""

    mask: np.ndarray
    left: int
    top: int

    def cut(self, size: tuple[int, int]) -> Placed:
        """The part within an image of size (H, W)."""
        top, left = max(self.top, 0), max(self.left, 0)
        bottom = max(min(self.top + self.mask.shape[0], size[0]), top)
        right = max(min(self.left + self.mask.shape[1], size[1]), left)
        part = self.mask[top - self.top : bottom - self.top, left - self.left : right - self.left]
        return Placed(part, left, top)


class Shape(Protocol):
    """What covers pixels of an image."""

    def place(self, size: tuple[int, int]) -> Placed:
        """The covered pixels in an image of size (H, W). Raises UserError if the shape is malformed."""


@dataclass(frozen=True)
class Polygons:
    """One object of one or several polygons.

    Args:
        parts: (N, 2) each.
        rasterizer: the rule.
        even_odd: parts within parts are holes; otherwise all parts are united, as COCO does.
    """

    parts: Sequence[Points]
    rasterizer: Rasterizer = "coco"
    even_odd: bool = False

    def place(self, size: tuple[int, int]) -> Placed:
        points = np.concatenate([np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in self.parts])
        left, top, right, bottom = _bounds(points, size)
        # A margin of one pixel: outlines are drawn on the pixels that they touch.
        origin, (width, height) = (left - 1, top - 1), (right - left + 3, bottom - top + 3)
        mask = np.zeros((height, width), dtype=bool)
        for part in self.parts:
            moved = np.asarray(part, dtype=np.float64).reshape(-1, 2) - origin
            filled = _FILL[self.rasterizer](moved, height, width)
            mask = mask ^ filled if self.even_odd else mask | filled
        return Placed(mask, *origin)


@dataclass(frozen=True)
class Ellipse:
    """Centre (x, y) and radii in pixels, rotated clockwise by degrees; filled as CVAT does, by OpenCV."""

    center: tuple[float, float]
    radii: tuple[float, float]
    rotation: float = 0.0

    def place(self, size: tuple[int, int]) -> Placed:
        corners = np.array([np.subtract(self.center, max(self.radii)), np.add(self.center, max(self.radii))])
        left, top, right, bottom = _bounds(corners, size)
        mask = np.zeros((bottom - top + 3, right - left + 3), dtype=np.uint8)
        center = (self.center[0] - left + 1, self.center[1] - top + 1)
        axes = (2 * self.radii[0], 2 * self.radii[1])
        cv2.ellipse(mask, (center, axes, self.rotation), color=1, thickness=-1)
        return Placed(mask.astype(bool), left - 1, top - 1)


@dataclass(frozen=True)
class Stamp:
    """A mask (h, w) bool at a pixel of the image, as LabelMe and CVAT store it."""

    mask: np.ndarray
    left: int = 0
    top: int = 0

    def place(self, size: tuple[int, int]) -> Placed:
        return Placed(self.mask, self.left, self.top)


@dataclass(frozen=True)
class RunLengths:
    """Run lengths of COCO: {"size": [H, W], "counts": text, bytes or a list}."""

    encoded: dict[str, Any]

    def place(self, size: tuple[int, int]) -> Placed:
        try:
            given = tuple(int(value) for value in self.encoded["size"])
            counts = self.encoded["counts"]
            if isinstance(counts, list):
                if sum(counts) != math.prod(given):
                    raise ValueError(f"run lengths of {sum(counts)} pixels")
                encoded = coco_mask.frPyObjects({"size": list(given), "counts": counts}, *given)
            else:
                encoded = {"size": list(given), "counts": counts.encode() if isinstance(counts, str) else counts}
            if given != size:
                raise ValueError(f"run lengths of an image of {given[1]} x {given[0]} pixels")
            left, top, width, height = (int(value) for value in coco_mask.toBbox(encoded))
            mask = coco_mask.decode(encoded)[top : top + height, left : left + width].astype(bool)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise UserError(f"damaged run lengths ({error})") from error
        return Placed(mask, left, top)


def rectangle(
    left: float, top: float, right: float, bottom: float, rotation: float = 0.0, *, pivot: Points | None = None
) -> Points:
    """The corners (4, 2) of a rectangle rotated clockwise by degrees about a point (2,), by default its centre."""
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float64)
    if not rotation:
        return corners
    center = corners.mean(axis=0) if pivot is None else pivot
    cosine, sine = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    return (corners - center) @ np.array([[cosine, sine], [-sine, cosine]]) + center


def _bounds(points: Points, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole pixels (left, top, right, bottom) around points. Raises UserError for points without sense."""
    if not np.isfinite(points).all():
        raise UserError("coordinates that are not finite")
    reach = max(MIN_REACH, MAX_REACH * max(size))
    if np.abs(points).max() > reach + max(size):
        raise UserError(f"coordinates up to {np.abs(points).max():.0f}, far beyond the image of {size[1]} x {size[0]}")
    left, top = np.floor(points.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(points.max(axis=0)).astype(int).tolist()
    return left, top, right, bottom


def _fill_as_coco(points: Points, height: int, width: int) -> np.ndarray:
    encoded = coco_mask.merge(coco_mask.frPyObjects([points.ravel().tolist()], height, width))
    return coco_mask.decode(encoded).astype(bool)


def _fill_as_labelme(points: Points, height: int, width: int) -> np.ndarray:
    image = Image.new("1", (width, height))
    ImageDraw.Draw(image).polygon([(x, y) for x, y in points.tolist()], outline=1, fill=1)
    return np.array(image, dtype=bool)


def _fill_as_yolo(points: Points, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(mask, [np.floor(points).astype(np.int32)], 1)
    return mask.astype(bool)


_FILL = {"coco": _fill_as_coco, "labelme": _fill_as_labelme, "yolo": _fill_as_yolo}
