"""`draw_pareto`: accuracy over cost, a point per model and a panel per cost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from segvit.errors import UserError
from segvit.visualization.figures import save_figure

# Okabe and Ito's colours, which colour-blind people can tell apart; yellow is too light for a thin mark.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# A second way to tell points apart, and more of them than there are colours.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


@dataclass(frozen=True)
class ParetoPoint:
    """A model.

    Attributes:
        name: in the legend.
        score: in percent; None is not drawn.
        deviation: of the score over runs; None for a single run, whose mark is hollow.
        costs: title of a panel -> cost; None is not drawn there.
    """

    name: str
    score: float | None
    deviation: float | None
    costs: Mapping[str, float | None]


def draw_pareto(points: Sequence[ParetoPoint], title: str, output: str | os.PathLike[str], *, score: str) -> None:
    """Draw the points, and a line through those that no other one beats in both score and cost.

    Panels without a point are left out.

    Args:
        points: all with the same costs.
        title: of the figure.
        output: the file to write.
        score: title of the vertical axis.

    Raises:
        UserError: no point has a score and a cost.
    """
    panels = {
        cost: [(index, point) for index, point in enumerate(points) if _is_drawn(point, cost)]
        for cost in points[0].costs
    }
    panels = {cost: drawn for cost, drawn in panels.items() if drawn}
    if not panels:
        raise UserError("no row has both a score and a cost: there is nothing to draw")
    figure = Figure(figsize=(1 + 5 * len(panels), 5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, (cost, drawn) in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items()):
        _draw_front(axes, [point for _, point in drawn], cost)
        for index, point in drawn:
            _draw_point(axes, index, point, cost)
        axes.set_xlabel(cost)
        axes.set_xlim(left=0)
        axes.margins(y=0.12)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel(score)
    shown = sorted({index for drawn in panels.values() for index, _ in drawn})
    marks = [_mark(index, points[index]) for index in shown]
    marks.append(Line2D([], [], color="grey", linestyle=":", label="nothing cheaper is as good"))
    if any(points[index].deviation is None for index in shown):
        marks.append(Line2D([], [], linestyle="", marker="o", color="grey", mfc="white", label="hollow: one run"))
    figure.legend(handles=marks, loc="outside lower center", ncols=3 if len(panels) > 1 else 1, frameon=False)
    save_figure(figure, output, dpi=110)


def _is_drawn(point: ParetoPoint, cost: str) -> bool:
    return point.score is not None and point.costs[cost] is not None


def _place(point: ParetoPoint, cost: str) -> tuple[float, float]:
    """Cost and score of a point that is drawn."""
    x, y = point.costs[cost], point.score
    assert x is not None and y is not None, "only points with both are drawn"
    return x, y


def _draw_front(axes: Axes, points: Sequence[ParetoPoint], cost: str) -> None:
    """A line through the points of which none is cheaper and at least as good, from the cheapest on."""
    front: list[tuple[float, float]] = []
    for place in sorted((_place(point, cost) for point in points), key=lambda place: (place[0], -place[1])):
        if not front or place[1] > front[-1][1]:
            front.append(place)
    axes.plot(*zip(*front, strict=True), color="grey", linestyle=":", linewidth=1, zorder=1)


def _draw_point(axes: Axes, index: int, point: ParetoPoint, cost: str) -> None:
    """The mark, with a bar of one standard deviation."""
    x, y = _place(point, cost)
    mark = _mark(index, point)
    axes.errorbar(x, y, yerr=point.deviation, color=mark.get_color(), capsize=3, linewidth=1)
    axes.plot(x, y, marker=mark.get_marker(), color=mark.get_color(), mfc=mark.get_markerfacecolor(), markersize=8)


def _mark(index: int, point: ParetoPoint) -> Line2D:
    """The mark of a row, as in the legend."""
    color = COLORS[index % len(COLORS)]
    deviation = "" if point.deviation is None else f" ± {point.deviation:.1f}"
    return Line2D(
        [],
        [],
        linestyle="",
        marker=MARKERS[index % len(MARKERS)],
        color=color,
        markerfacecolor="white" if point.deviation is None else color,
        markersize=8,
        label=f"{point.name}: {point.score:.1f}{deviation}",
    )
