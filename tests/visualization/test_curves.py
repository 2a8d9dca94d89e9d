"""Curves of runs: what is read from metrics.json, one mIoU curve for each test set, ticks and legends."""

import json

import pytest
from matplotlib.colors import to_hex

from segvit.visualization import curves


@pytest.fixture
def figures(monkeypatch):
    """Figures are collected instead of saved."""
    saved = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, output, dpi: saved.append(figure))
    return saved


def write_run(folder, metrics, losses=(9.8, 9.4, 9.1)):
    folder.mkdir(parents=True)
    records = [{"iteration": index, "total_loss": loss, **metrics} for index, loss in enumerate(losses)]
    (folder / "metrics.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def legend_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_each_test_set_has_a_curve(tmp_path, figures):
    scores = {"a_val/sem_seg/mIoU": 40.0, "b_val/sem_seg/mIoU": 60.0, "b_val/sem_seg/mACC": 1.0}
    curves.draw_training_curves([write_run(tmp_path / "run", scores)], "unused.png")
    _, axes = figures[0].axes
    assert [line.get_ydata()[-1] for line in axes.get_lines()] == [40, 60]
    assert legend_of(axes) == ["run, a_val", "run, b_val"]
    assert len({line.get_linestyle() for line in axes.get_lines()}) == 2


def test_one_test_set_is_named_by_its_run(tmp_path, figures):
    folders = [write_run(tmp_path / name, {"sem_seg/mIoU": 40.0}) for name in ("first", "_second")]
    curves.draw_training_curves(folders, "unused.png")
    loss_axes, axes = figures[0].axes
    assert legend_of(axes) == legend_of(loss_axes) == ["first", "_second"]  # also with an underscore
    for line, loss in zip(axes.get_lines(), loss_axes.get_lines(), strict=True):
        assert to_hex(line.get_color()) == to_hex(loss.get_color())


def test_runs_with_equal_names_are_told_apart(tmp_path, figures):
    folders = [write_run(tmp_path / name / "output", {"sem_seg/mIoU": 40.0}) for name in ("a", "b")]
    curves.draw_training_curves(folders, "unused.png")
    assert legend_of(figures[0].axes[0]) == [str(folder) for folder in folders]


def test_a_run_without_evaluation_draws_its_loss(tmp_path, figures):
    curves.draw_training_curves([write_run(tmp_path / "run", {})], "unused.png")
    assert not figures[0].axes[1].get_lines()


@pytest.mark.parametrize("losses", [(9.8, 9.4, 9.1), (1.02, 0.98), (400.0, 0.3), (50.0, 8.0), (1e6, 1e-6), (3.0,)])
def test_ticks_of_the_loss_are_plain_numbers(tmp_path, figures, losses):
    curves.draw_training_curves([write_run(tmp_path / "run", {}, losses)], "unused.png")
    axes = figures[0].axes[0]
    figures[0].draw_without_rendering()
    low, high = axes.get_ylim()
    shown = [
        label.get_text()
        for ticks in (axes.yaxis.get_major_ticks(), axes.yaxis.get_minor_ticks())
        for tick in ticks
        if low <= tick.get_loc() <= high and (label := tick.label1).get_text()
    ]
    assert 2 <= len(shown) <= 14 and len(set(shown)) == len(shown)
    assert all(low <= float(text) * 1.001 and float(text) <= high * 1.001 for text in shown)


def test_unfinished_lines_are_skipped_and_repeated_iterations_replaced(tmp_path):
    folder = write_run(tmp_path / "run", {"sem_seg/mIoU": 40.0})
    with (folder / "metrics.json").open("a") as file:
        file.write('{"iteration": 2, "total_loss": 5.0}\n{"iteration": 3, "total')
    assert curves.read_metrics(folder, "total_loss") == ([0, 1, 2], [9.8, 9.4, 5.0])
    assert curves.read_scores(folder) == {"": ([0, 1, 2], [40.0] * 3)}


def test_of_two_runs_in_one_folder_the_second_counts(tmp_path):
    """Their points, joined by one line, were a curve of neither run."""
    folder = write_run(tmp_path / "run", {"sem_seg/mIoU": 40.0})
    with (folder / "metrics.json").open("a") as file:
        file.write('{"iteration": 0, "total_loss": 7.0}\n{"iteration": 1, "sem_seg/mIoU": 10.0}\n')
    assert curves.read_metrics(folder, "total_loss") == ([0], [7.0])
    assert curves.read_scores(folder) == {"": ([0, 1], [40.0, 10.0])}


def test_a_loss_of_one_point_is_visible(tmp_path, figures):
    curves.draw_training_curves([write_run(tmp_path / "run", {}, losses=(3.0,))], "unused.png")
    (line,) = figures[0].axes[0].get_lines()
    assert line.get_marker() == "o"
