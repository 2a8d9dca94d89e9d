"""`draw_pareto`: which points it draws, the line through the best ones, and its legend."""

import pytest

from segvit.errors import UserError
from segvit.visualization import pareto
from segvit.visualization.pareto import ParetoPoint, draw_pareto


def point(name, score, ms, gmacs=None, deviation=None):
    return ParetoPoint(name=name, score=score, deviation=deviation, costs={"ms": ms, "MACs": gmacs})


POINTS = [
    point("plain", 60.0, 100.0, 4.0, deviation=0.5),
    point("worse and dearer", 50.0, 80.0),
    point("cheap", 55.0, 40.0, 1.0),
    point("untrained", None, 20.0, 1.0),
]


@pytest.fixture
def figures(monkeypatch):
    """The figures in place of their files."""
    drawn = []
    monkeypatch.setattr(pareto, "save_figure", lambda figure, output, dpi: drawn.append(figure))
    return drawn


def test_a_panel_has_the_points_with_score_and_cost_and_a_line_through_the_best(figures):
    draw_pareto(POINTS, "title", "a.png", score="mIoU")
    times, operations = figures[0].axes
    assert [axes.get_xlabel() for axes in (times, operations)] == ["ms", "MACs"]
    front, *marks = (list(zip(*line.get_data())) for line in times.lines if line.get_marker() not in "_|")
    assert front == [(40.0, 55.0), (100.0, 60.0)]
    assert {place for line in marks for place in line} == {(100.0, 60.0), (80.0, 50.0), (40.0, 55.0)}
    assert "80.0" not in {str(x) for line in operations.lines for x in line.get_xdata()}


def test_the_legend_names_what_is_drawn_with_score_and_deviation(figures):
    draw_pareto(POINTS, "title", "a.png", score="mIoU")
    names = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert names[:3] == ["plain: 60.0 ± 0.5", "worse and dearer: 50.0", "cheap: 55.0"]
    assert not [name for name in names if "untrained" in name]
    filled = [line.get_markerfacecolor() != "white" for line in figures[0].legends[0].get_lines()]
    assert filled[:3] == [True, False, False]


def test_a_panel_without_a_point_is_left_out(figures):
    draw_pareto([point("plain", 60.0, 100.0)], "title", "a.png", score="mIoU")
    assert [axes.get_xlabel() for axes in figures[0].axes] == ["ms"]


def test_nothing_to_draw_is_an_error(figures):
    with pytest.raises(UserError, match="nothing to draw"):
        draw_pareto([point("untrained", None, 20.0, 1.0), point("free", 50.0, None)], "title", "a.png", score="mIoU")
    assert not figures
