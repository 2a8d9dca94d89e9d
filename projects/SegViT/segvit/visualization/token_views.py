"""Drawings of edge scores, kept tokens and class masks over their image.

Shape shorthand: H x W pixels, P patch, h x w grid.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from segvit.visualization.figures import save_figure


def draw_token_views(
    image: np.ndarray,
    *,
    edge_scores: np.ndarray | None,
    kept: np.ndarray,
    masks: Sequence[tuple[str, np.ndarray]],
    patch_size: int,
    output: str | os.PathLike[str],
) -> None:
    """Write a PNG of panels side by side: image, edge scores, kept tokens, and one per mask.

    Args:
        image: (H, W, 3) uint8 RGB.
        edge_scores: (h, w) in 0 to 1; None leaves out this panel.
        kept: (h, w) bool.
        masks: titles and values in 0 to 1, on the grid of patches or a finer one.
        patch_size: P.
        output: the PNG.
    """
    panels = [("image", image)]
    if edge_scores is not None:
        panels.append(("edge score", overlay_heat(image, edge_scores, patch_size)))
    kept_title = f"kept tokens: {kept.sum()} of {kept.size} ({kept.mean():.0%})"
    panels.append((kept_title, dim_dropped(image, kept, patch_size)))
    panels += [(title, overlay_mask(image, values, kept, patch_size)) for title, values in masks]
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    height = 4 * image.shape[0] / image.shape[1] + 0.35
    figure = Figure(figsize=(4 * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, pixels) in zip(axes.flat, panels, strict=False):
        axis.imshow(pixels)
        axis.set_title(title, fontsize=11)
    save_figure(figure, output, dpi=90)


def overlay_mask(image: np.ndarray, mask: np.ndarray, kept: np.ndarray, patch_size: int) -> np.ndarray:
    """The heat map of a mask, whose grid may be finer than that of the patches (`kept`), over an image (H, W, 3)."""
    return overlay_heat(image, mask, patch_size * kept.shape[1] / mask.shape[1], smooth=True)


def overlay_heat(image: np.ndarray, values: np.ndarray, cell_size: float, *, smooth: bool = False) -> np.ndarray:
    """Blend (h, w) values in 0 to 1 over an image (H, W, 3) as a heat map, brighter and more opaque with the value."""
    heat = to_pixels(values, image.shape[:2], cell_size, smooth=smooth)
    colors = colormaps["inferno"](heat)[..., :3] * 255
    opacity = 0.35 + 0.5 * heat[..., None]
    return ((1 - opacity) * image + opacity * colors).round().astype(np.uint8)


def dim_dropped(image: np.ndarray, kept: np.ndarray, patch_size: int) -> np.ndarray:
    """The image (H, W, 3) with its dropped patches darkened; `kept` is (h, w) bool."""
    brightness = to_pixels(kept.astype(np.float32), image.shape[:2], patch_size, smooth=False)[..., None]
    return (image * (0.2 + 0.8 * brightness)).round().astype(np.uint8)


def to_pixels(values: np.ndarray, image_size: tuple[int, int], cell_size: float, *, smooth: bool) -> np.ndarray:
    """(h, w) values of cells -> (H, W), cropped to the image; `smooth` interpolates between the centres of cells."""
    padded_width_height = (round(values.shape[1] * cell_size), round(values.shape[0] * cell_size))
    interpolation = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    pixels = cv2.resize(values.astype(np.float32), padded_width_height, interpolation=interpolation)
    return pixels[: image_size[0], : image_size[1]].clip(0, 1)
