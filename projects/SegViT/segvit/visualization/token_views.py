"""Edge scores, kept tokens and class masks over the picture they belong to.

Shape shorthand: H x W pixels, P patch, h x w grid.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from segvit.visualization.figure_file import save_figure


def draw_token_views(
    image: np.ndarray,
    *,
    edge_scores: np.ndarray | None,
    kept: np.ndarray,
    masks: Sequence[tuple[str, np.ndarray]],
    patch_size: int,
    output: str | os.PathLike[str],
) -> None:
    """Draw the panels side by side into a PNG: image, edge scores, kept tokens, and a panel per mask.

    Args:
        image: (H, W, 3) uint8 RGB.
        edge_scores: (h, w) in 0 to 1; None draws no such panel.
        kept: (h, w) bool.
        masks: titles and (h, w) values in 0 to 1.
        patch_size: P.
    """
    panels = [("image", image)]
    if edge_scores is not None:
        panels.append(("edge score", overlay_heat(image, edge_scores, patch_size)))
    panels.append(
        (f"kept tokens: {kept.sum()} of {kept.size} ({kept.mean():.0%})", dim_dropped(image, kept, patch_size))
    )
    panels += [(title, overlay_heat(image, values, patch_size, smooth=True)) for title, values in masks]
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    height = 4 * image.shape[0] / image.shape[1] + 0.35
    figure = Figure(figsize=(4 * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, picture) in zip(axes.flat, panels, strict=False):
        axis.imshow(picture)
        axis.set_title(title, fontsize=11)
    save_figure(figure, output, dpi=90)


def overlay_heat(image: np.ndarray, values: np.ndarray, patch_size: int, *, smooth: bool = False) -> np.ndarray:
    """Lay (h, w) values in 0 to 1 over an image as colours; the higher, the brighter and the more opaque."""
    heat = to_pixels(values, image.shape[:2], patch_size, smooth=smooth)
    colors = colormaps["inferno"](heat)[..., :3] * 255
    opacity = 0.35 + 0.5 * heat[..., None]
    return ((1 - opacity) * image + opacity * colors).round().astype(np.uint8)


def dim_dropped(image: np.ndarray, kept: np.ndarray, patch_size: int) -> np.ndarray:
    """The image with the patches that were dropped darkened."""
    stays = to_pixels(kept.astype(np.float32), image.shape[:2], patch_size, smooth=False)[..., None]
    return (image * (0.2 + 0.8 * stays)).round().astype(np.uint8)


def to_pixels(values: np.ndarray, size: tuple[int, int], patch_size: int, *, smooth: bool) -> np.ndarray:
    """(h, w) values of patches -> (H, W), cut at the image's end; bilinear between patch centres where `smooth`."""
    covered = (values.shape[1] * patch_size, values.shape[0] * patch_size)
    interpolation = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    pixels = cv2.resize(values.astype(np.float32), covered, interpolation=interpolation)
    return pixels[: size[0], : size[1]].clip(0, 1)
