"""The doctor's figures of 300 classes: the number of drawn objects, which takes the time."""

import numpy as np
import pytest
from matplotlib.text import Text

from segvit.visualization import dataset_figures, overlays

SPLITS = ("train", "val")


@pytest.fixture
def figures(monkeypatch):
    """Figures are collected instead of saved."""
    saved = []
    monkeypatch.setattr(dataset_figures, "save_figure", lambda figure, output, dpi: saved.append(figure))
    return saved


def draw(num_classes):
    names = [f"class {class_id}" for class_id in range(num_classes)]
    frequencies = {split: np.full(num_classes, 1 / 300) for split in SPLITS}
    dataset_figures.draw_class_histogram(frequencies, names, "unused.png")
    labels = np.arange(24 * 32).reshape(24, 32) % num_classes
    cell = dataset_figures.make_cell(np.zeros((24, 32, 3), np.uint8), labels, "title")
    dataset_figures.draw_contact_sheet([cell], names, [(1, 2, 3)] * num_classes, "unused.png")


def count(figure):
    """Texts, and all other objects."""
    artists = figure.findobj()
    num_texts = sum(isinstance(artist, Text) and bool(artist.get_text()) for artist in artists)
    return num_texts, len(artists) - num_texts


def test_a_class_costs_one_text_in_the_histogram(figures):
    draw(3)
    draw(300)
    (few_texts, few_others), (many_texts, many_others) = (count(figure) for figure in figures[::2])
    assert many_texts - few_texts == 297
    assert many_others == few_others
    assert all(figure.get_layout_engine() is None for figure in figures[::2])


def test_the_legend_of_the_contact_sheet_lists_at_most_40_classes(figures):
    draw(3)
    draw(300)
    few, many = figures[1::2]
    assert [len(figure.legends[0].get_texts()) for figure in (few, many)] == [3, 40]


@pytest.mark.parametrize("name", ["a", "class number 300", "swivel chair, office chair, desk chair", "W" * 60])
def test_the_legend_of_a_sheet_is_inside_it(figures, monkeypatch, name):
    monkeypatch.setattr(overlays, "save_figure", lambda figure, output, dpi: figures.append(figure))
    names, colors = [f"{name} {index}" for index in range(40)], [(1, 2, 3)] * 40
    image, labels = np.zeros((24, 32, 3), np.uint8), np.arange(24 * 32).reshape(24, 32) % 40
    dataset_figures.draw_contact_sheet([dataset_figures.make_cell(image, labels, "title")], names, colors, "unused.png")
    overlays.draw_prediction_sheet([overlays.Prediction(image, labels, labels)], names, colors, "unused.png")
    for figure in figures:
        figure.draw_without_rendering()
        box, page = figure.legends[0].get_window_extent(), figure.bbox
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0
        assert figure.axes[0].get_window_extent().height > 0.2 * page.height
