"""Fonts of legends and figures: any script is drawn, or named in one warning and replaced by the class id."""

import logging

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from PIL import Image

from segvit.visualization import LegendOverlay, fonts
from segvit.visualization.dataset_figures import draw_contact_sheet, make_cell
from segvit.visualization.figures import save_figure
from segvit.visualization.fonts import missing_characters, readable_names, text_coverage

# A character for private use, which is in no font but those that a test makes.
PRIVATE = "\U000f1234"


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Clear the cached fonts and warnings before each test."""
    monkeypatch.setattr(fonts, "_reported", set())
    caches = (fonts.font_of, fonts._other_fonts, fonts._characters_of, fonts.text_coverage)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def font(tmp_path, monkeypatch):
    """Install a font whose only character, PRIVATE, is a black square."""
    pen = TTGlyphPen(None)
    for index, point in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
        (pen.lineTo if index else pen.moveTo)(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(PRIVATE): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (700, 0), "square": (700, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": f"Square {tmp_path.name}", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "Square.ttf")
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: [str(tmp_path / "Square.ttf")])
    monkeypatch.setattr(fonts.font_manager.fontManager, "ttflist", [*fonts.font_manager.fontManager.ttflist])


def test_a_font_of_this_machine_is_used(font, caplog):
    assert readable_names(["a", PRIVATE]) == ["a", PRIVATE] and not caplog.records
    square = text_coverage(PRIVATE, 20)
    assert (square == 255).sum() == pytest.approx(14 * 14, rel=0.2)
    mixed = text_coverage(f"ab{PRIVATE}", 20)
    assert (mixed[:, -12:] == 255).sum() > 100 and mixed[:, :12].any()  # each character from the font that has it


def test_figures_use_a_font_of_this_machine(font, tmp_path, caplog):
    drawn = draw_figure(PRIVATE * 8, tmp_path / "figure.png")
    blank = draw_figure(" ", tmp_path / "blank.png")
    assert (blank - drawn == 255).sum() > 1000 and not caplog.records


def draw_figure(title, path):
    figure = Figure(figsize=(3, 2))
    figure.suptitle(title, fontsize=20)
    save_figure(figure, path, dpi=100)
    return np.asarray(Image.open(path).convert("L")).astype(int)


def test_a_name_that_no_font_has_is_replaced_by_its_class_id_with_one_warning(caplog):
    with caplog.at_level(logging.WARNING):
        assert readable_names(["road", f"{PRIVATE}x", "car"]) == ["road", "class 1", "car"]
        assert readable_names([PRIVATE]) == ["class 0"]
    (record,) = caplog.records
    assert PRIVATE in record.getMessage() and "apt-get install" in record.getMessage()


PACKAGES = {"中": "fonts-noto-cjk", "か": "fonts-noto-cjk", "भ": "fonts-noto-core", "🚗": "fonts-symbola"}


@pytest.mark.parametrize("name", PACKAGES)
def test_the_warning_names_the_package(name, monkeypatch, caplog):
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", list)
    readable_names([name])
    assert PACKAGES[name] in caplog.text


def test_legends_and_sheets_show_the_class_id(tmp_path):
    image, labels = np.zeros((60, 200, 3), np.uint8), np.ones((60, 200), np.int64)
    colors = [(1, 2, 3), (40, 50, 60)]
    drawn = [
        LegendOverlay(names=names, colors=colors).draw_image(image, labels)
        for names in (["a", PRIVATE], ["a", "class 1"])
    ]
    assert np.array_equal(*drawn)
    for index, names in enumerate((["a", PRIVATE], ["a", "class 1"])):
        draw_contact_sheet([make_cell(image, labels, "t")], names, colors, tmp_path / f"{index}.png")
    assert np.array_equal(*(np.asarray(Image.open(tmp_path / f"{index}.png")) for index in range(2)))


@pytest.mark.parametrize("name", ["road", "Bäume", "дорога", "οδός", "بناية", "עץ", "a\u0308"])
def test_the_default_font_has_these_scripts(name, monkeypatch):
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", list)
    monkeypatch.setattr(fonts, "SHAPES_TEXT", True)
    assert missing_characters(name) == ""


@pytest.mark.skipif(not fonts.SHAPES_TEXT, reason="needs matplotlib 3.11")
def test_arabic_letters_join_and_run_from_right_to_left():
    single, joined = text_coverage("ب", 40), text_coverage("ببب", 40)
    assert joined.shape[1] < 0.8 * 3 * single.shape[1]
    alif_first = text_coverage("اب", 40)
    heights = (alif_first > 0).sum(axis=0)
    assert heights.argmax() > alif_first.shape[1] / 2  # alif, a high stroke, is on the right


def test_a_matplotlib_without_text_shaping_gives_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(fonts, "SHAPES_TEXT", False)
    assert readable_names(["بناية", "road"]) == ["class 0", "road"]
    assert "matplotlib>=3.11" in caplog.text


def test_dollars_in_names_are_drawn_as_dollars(tmp_path):
    formula, text = (draw_figure(title, tmp_path / "a.png") for title in ("$x^2$", "x2"))
    assert (formula < 128).sum() > 1.2 * (text < 128).sum()
