"""Times of several models beside each other."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from matplotlib.figure import Figure

from segvit.visualization.figure_file import save_figure


def draw_timings(
    ratios: Mapping[str, float], title: str, output: str | os.PathLike[str], *, highlighted: Collection[str] = ()
) -> None:
    """Draw a bar for each name, the shortest on top, into a PNG.

    Args:
        ratios: times by name, in units of the first one's.
        title: what was measured, and where.
        highlighted: names whose bars stand out; the first one's is grey.
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
