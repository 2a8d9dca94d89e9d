"""Images and HTML fragments of the web page; class and file names in the HTML are escaped.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from segvit.classes.palette import Color
from segvit.visualization.legend import LegendOverlay
from segvit.visualization.token_views import dim_dropped, overlay_mask
from segvit.web.analysis import Analysis, class_areas
from segvit.web.limits import FORMATS, UploadLimits

ROW = (
    '<tr><td><span style="display:inline-block;width:1em;height:1em;border:1px solid;background:rgb({color})"></span>'
    "</td><td>{name}</td><td style='text-align:right'>{fraction:.2%}</td></tr>"
)


def draw_overlay(analysis: Analysis, names: Sequence[str], colors: Sequence[Color], opacity: float) -> np.ndarray:
    """(H + legend, at least W, 3): the image blended with the colours of its classes, with a legend below."""
    overlay = LegendOverlay(names=names, colors=colors, opacity=opacity)
    return overlay.draw_image(analysis.upload.image, analysis.labels)


def draw_mask(analysis: Analysis, index: int) -> np.ndarray:
    """(H, W, 3): the mask of a class as a heat map over the model's input."""
    view = analysis.view
    return overlay_mask(view.image, view.masks[index], view.kept, view.patch_size)


def draw_kept_tokens(analysis: Analysis) -> np.ndarray:
    """(H, W, 3): the model's input with the patches of dropped tokens darkened."""
    view = analysis.view
    return dim_dropped(view.image, view.kept, view.patch_size)


def areas_table(analysis: Analysis, names: Sequence[str], colors: Sequence[Color]) -> str:
    """An HTML table with a row per class in the image: colour, name, percentage of the pixels."""
    rows = [
        ROW.format(color=",".join(map(str, colors[area.index])), name=escape(names[area.index]), fraction=area.fraction)
        for area in class_areas(analysis.labels)
    ]
    head = "<tr><th></th><th>class</th><th style='text-align:right'>area</th></tr>"
    return f'<table style="width:100%">{head}{"".join(rows)}</table>'


def describe_analysis(analysis: Analysis) -> str:
    """A line with the image's size and the number of kept tokens, and one for each note."""
    height, width = analysis.upload.original_size
    label_height, label_width = analysis.labels.shape
    line = f"{width} x {height} pixels"
    if (label_height, label_width) != (height, width):
        line += f", scaled down to {label_width} x {label_height}"
    if analysis.drops_tokens:
        kept = analysis.view.kept
        line += f"; {kept.sum()} of {kept.size} tokens kept ({kept.mean():.0%})"
    notes = [f'<p role="alert"><b>Note:</b> {escape(note)}</p>' for note in analysis.upload.notes]
    return f"<p>{line}</p>{''.join(notes)}"


def describe_limits(limits: UploadLimits) -> str:
    """A line with the limits, since the upload box only shows "Error" for a file that is too large."""
    formats = ", ".join(FORMATS)
    return f"<small>{formats}; up to {limits.max_megabytes:g} MB and {limits.max_megapixels:g} megapixels</small>"


def describe_refusal(error: Exception) -> str:
    """A line with the reason why an image is refused."""
    return f'<p role="alert"><b>Refused:</b> {escape(str(error))}</p>'


def mask_title(analysis: Analysis, index: int, names: Sequence[str]) -> str:
    """The name of the class and the probability that its query gives it."""
    return f"Mask of {names[index]} (p = {analysis.view.probabilities[index]:.2f})"
