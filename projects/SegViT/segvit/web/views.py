"""What the page shows of an analysis: pictures, and fragments of HTML in which every name is escaped.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from segvit.visualization.legend import LegendOverlay
from segvit.visualization.overlays import Color
from segvit.visualization.token_views import dim_dropped, overlay_heat
from segvit.web.analysis import Analysis, class_areas
from segvit.web.uploads import FORMATS, UploadLimits

ROW = (
    '<tr><td><span style="display:inline-block;width:1em;height:1em;border:1px solid;background:rgb({color})"></span>'
    "</td><td>{name}</td><td style='text-align:right'>{share:.2%}</td></tr>"
)


def draw_overlay(analysis: Analysis, names: Sequence[str], colors: Sequence[Color], opacity: float) -> np.ndarray:
    """The picture under the colours of its classes, with a legend below."""
    overlay = LegendOverlay(names=names, colors=colors, opacity=opacity)
    return overlay.of_picture(analysis.upload.picture, analysis.labels)


def draw_mask(analysis: Analysis, index: int) -> np.ndarray:
    """The similarity map of a class's query behind the sigmoid, as a heat map over what the model read (H, W, 3)."""
    inspection = analysis.inspection
    mask = inspection.masks[index]
    # Hierarchical encoders answer on a finer grid than that of their last stage.
    patch_size = inspection.patch_size * inspection.kept.shape[1] // mask.shape[1]
    return overlay_heat(inspection.image, mask, patch_size, smooth=True)


def draw_kept_tokens(analysis: Analysis) -> np.ndarray:
    """What the model read (H, W, 3), the patches darkened whose tokens it dropped."""
    inspection = analysis.inspection
    return dim_dropped(inspection.image, inspection.kept, inspection.patch_size)


def areas_table(analysis: Analysis, names: Sequence[str], colors: Sequence[Color]) -> str:
    """A row per class that was found: colour, name, per cent of the pixels."""
    rows = [
        ROW.format(color=",".join(map(str, colors[area.index])), name=escape(names[area.index]), share=area.share)
        for area in class_areas(analysis.labels)
    ]
    head = "<tr><th></th><th>class</th><th style='text-align:right'>area</th></tr>"
    return f'<table style="width:100%">{head}{"".join(rows)}</table>'


def describe_analysis(analysis: Analysis) -> str:
    """A line about sizes and tokens."""
    (height, width), shape = analysis.upload.size, analysis.labels.shape
    line = f"{width} x {height} pixels"
    if shape != (height, width):
        line += f", scaled down to {shape[1]} x {shape[0]}"
    if analysis.drops_tokens:
        kept = analysis.inspection.kept
        line += f"; {kept.sum()} of {kept.size} tokens kept ({kept.mean():.0%})"
    return f"<p>{line}</p>"


def describe_limits(limits: UploadLimits) -> str:
    """What is accepted. Of a file that is too large the upload's box itself says no more than that it failed."""
    kinds = ", ".join(FORMATS)
    return f"<small>{kinds}; up to {limits.max_megabytes:g} MB and {limits.max_megapixels:g} megapixels</small>"


def describe_refusal(error: Exception) -> str:
    """Why there is nothing to see."""
    return f'<p role="alert"><b>Refused:</b> {escape(str(error))}</p>'


def mask_title(analysis: Analysis, index: int, names: Sequence[str]) -> str:
    """The name of the class, and how sure the model is that it is in the picture."""
    return f"Mask of {names[index]} (p = {analysis.inspection.probabilities[index]:.2f})"
