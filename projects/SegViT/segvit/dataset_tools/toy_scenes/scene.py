"""`draw_scene`: one toy scene, image and label map, from a seed."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from segvit.dataset_tools.toy_scenes.backdrop import paint_ground, paint_hills, paint_sky, paint_water
from segvit.dataset_tools.toy_scenes.canvas import IGNORED, IMAGE_HEIGHT, IMAGE_WIDTH, Canvas
from segvit.dataset_tools.toy_scenes.objects import (
    paint_ball,
    paint_building,
    paint_fence,
    paint_pole,
    paint_sign,
    paint_tree,
)
from segvit.datasets.benchmarks.toy_scenes import CLASS_IDS
from segvit.errors import UserError

SPLITS = ("train", "val")
Painter = Callable[[Canvas, np.random.Generator, float, float], None]
# (painter, probability, maximum count, farthest and nearest base: 0 at the horizon, 1 at the lower edge).
OBJECTS: tuple[tuple[Painter, float, int, float, float], ...] = (
    (paint_building, 0.75, 2, 0.05, 0.35),
    (paint_tree, 0.75, 2, 0.10, 0.60),
    (paint_fence, 0.55, 1, 0.35, 0.85),
    (paint_pole, 0.65, 2, 0.25, 0.90),
    (paint_sign, 0.65, 1, 0.40, 0.95),
    (paint_ball, 0.65, 2, 0.55, 0.97),
)


def draw_scene(seed: int, split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (h, w, 3) RGB and label map (h, w), both uint8; deterministic in the arguments.

    Raises UserError for a split other than train and val.
    """
    if split not in SPLITS:
        raise UserError(f"split must be one of {SPLITS}, got {split!r}")
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    canvas = Canvas.blank()
    horizon = IMAGE_HEIGHT * rng.uniform(0.40, 0.55)
    paint_sky(canvas, rng, horizon)
    if rng.random() < 0.85:
        paint_hills(canvas, rng, horizon)
    paint_ground(canvas, rng, horizon)
    if rng.random() < 0.6:
        paint_water(canvas, rng, horizon)
    for base, x, painter in _place_objects(rng, horizon):
        _paint_shadow(canvas, x, base)
        painter(canvas, rng, x, base)
    image, labels = canvas.finish(rng)
    return image, _ignore_tree_outlines(labels)


def _place_objects(rng: np.random.Generator, horizon: float) -> list[tuple[float, float, Painter]]:
    """(base, x, painter) of the objects of a scene, farthest first."""
    placed = []
    for painter, chance, most, far, near in OBJECTS:
        count = int(rng.integers(1, most + 1)) if rng.random() < chance else 0
        for _ in range(count):
            base = horizon + rng.uniform(far, near) * (IMAGE_HEIGHT - horizon)
            placed.append((float(base), float(rng.uniform(10, IMAGE_WIDTH - 10)), painter))
    return sorted(placed, key=lambda item: item[0])


def _paint_shadow(canvas: Canvas, x: float, base: float) -> None:
    canvas = canvas.window(x - 20, base - 5, x + 30, base + 5)
    distance = ((canvas.x - x - 5) / 18.0) ** 2 + ((canvas.y - base) / 3.0) ** 2
    canvas.shade(0.4 * np.clip(1.2 - distance, 0.0, 1.0), (24, 26, 40))


def _ignore_tree_outlines(labels: np.ndarray) -> np.ndarray:
    """Ignore a pixel on either side of a crown's outline, as annotators do where leaves and sky mix."""
    tree = (labels == CLASS_IDS["tree"]).astype(np.uint8)
    outline = cv2.morphologyEx(tree, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.where(outline > 0, np.uint8(IGNORED), labels)
