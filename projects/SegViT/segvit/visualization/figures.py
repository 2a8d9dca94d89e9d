"""Matplotlib figures as files: `save_figure` writes one, and `draw_timings` draws a bar chart of relative times."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from segvit.errors import UserError
from segvit.output_files import atomic_write
from segvit.visualization.fonts import use_fonts


def require_figure_name(output: str | os.PathLike[str]) -> None:
    """Raise UserError if matplotlib cannot write the file's extension; commands call it before long work."""
    known = FigureCanvasBase.get_supported_filetypes()
    if Path(output).suffix.removeprefix(".").lower() not in known:
        raise UserError(f"{output}: the file name must end in .png, or another of .{', .'.join(sorted(known))}")


def save_figure(figure: Figure, output: str | os.PathLike[str], *, dpi: int) -> None:
    """Write a figure atomically, with fonts for its texts, in the format of the file's extension.

    Raises UserError for an unknown extension.
    """
    require_figure_name(output)
    use_fonts(figure)
    with atomic_write(output) as temporary:
        figure.savefig(temporary, dpi=dpi)


def draw_timings(
    ratios: Mapping[str, float], title: str, output: str | os.PathLike[str], *, highlighted: Collection[str] = ()
) -> None:
    """Draw a horizontal bar for each name, the shortest at the top.

    Args:
        ratios: name -> time, divided by the time of the first name.
        title: what was measured, and on which machine.
        output: the file to write.
        highlighted: names with orange bars; the first name's bar is gray, all others are blue.
    """
    names = sorted(ratios, key=ratios.__getitem__, reverse=True)
    reference = next(iter(ratios))
    figure = Figure(figsize=(8, 1 + 0.32 * len(names)), layout="constrained")
    axes = figure.subplots()
    colors = dict.fromkeys(highlighted, "tab:orange") | {reference: "tab:gray"}
    bars = axes.barh(names, [ratios[name] for name in names], color=[colors.get(name, "tab:blue") for name in names])
    axes.bar_label(bars, fmt="%.2f", padding=4)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes.margins(x=0.1)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(f"median time, {reference} = 1")
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, output, dpi=110)
