"""Fonts for texts in any script: `use_fonts` for matplotlib figures, `text_coverage` for texts drawn into pixels.

matplotlib's DejaVu Sans has Latin, Greek, Cyrillic, Arabic and Hebrew letters. For other characters the fonts of this
machine are searched. What none of them has is replaced, with one warning: a class name by "class" and its id.

Shape shorthand: H x W pixels of a text.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

DEFAULT_FONT = "DejaVu Sans"
# File names of fonts in other styles than regular, which are not searched.
OTHER_STYLE = re.compile("bold|italic|oblique|light|thin|medium|black|condensed|mono|math", re.IGNORECASE)
# Characters that no font needs: joiners and the selectors of emoji variants.
INVISIBLE = re.compile("[\u200b-\u200f\ufe00-\ufe0f]")
REPLACEMENT = "?"
# Figures shorten longer class names: some of ADE20K's list five synonyms.
MAX_NAME_LENGTH = 32
# How many characters a warning lists.
MAX_LISTED = 20
# Since this version matplotlib joins Arabic letters and writes from right to left (by libraqm).
SHAPES_TEXT = matplotlib.__version_info__[:2] >= (3, 11)
# Of a text drawn into pixels: its height and its baseline, as multiples of the font size.
LINE_HEIGHT = 1.5
BASELINE = 1.11

logger = logging.getLogger(__name__)
_reported: set[str] = set()


def readable_names(names: Sequence[str]) -> list[str]:
    """Class names as they can be drawn: "class <id>" for names with a character that no font has."""
    missing = [missing_characters(name) for name in names]
    _report("".join(missing))
    return [f"class {index}" if missing[index] else name for index, name in enumerate(names)]


def shorten(name: str) -> str:
    """A class name of at most `MAX_NAME_LENGTH` characters."""
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 3]}..."


def use_fonts(figure: Figure) -> None:
    """Give all texts of a figure the fonts that they need, and draw "$" as it is; replace what no font has by "?"."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        content = text.get_text()
        missing = missing_characters(content)
        _report(missing)
        text.set_text(content.translate(dict.fromkeys(map(ord, missing), REPLACEMENT)))
        text.set_parse_math(False)
        text.set_fontfamily(_families(text.get_text()))


@lru_cache(maxsize=4096)
def text_coverage(text: str, size: int) -> np.ndarray:
    """(H, W) uint8: how much of each pixel a readable text covers, from 0 to 255; H depends on the font size alone."""
    properties = font_manager.FontProperties(family=_families(text), size=size)
    measure = RendererAgg(1, 1, 72)  # At 72 dpi a point is a pixel.
    width, _, _ = measure.get_text_width_height_descent(text, properties, ismath=False)
    renderer = RendererAgg(int(width) + 2, text_height(size), 72)
    renderer.draw_text(renderer.new_gc(), 0, round(BASELINE * size), text, properties, 0)
    return np.array(renderer.buffer_rgba())[..., 3]


def text_height(size: int) -> int:
    """H of `text_coverage`."""
    return round(LINE_HEIGHT * size)


def missing_characters(text: str) -> str:
    """The different characters of a text that cannot be drawn."""
    characters = sorted(set(INVISIBLE.sub("", text)))
    if not SHAPES_TEXT:
        unshaped = "".join(character for character in characters if _needs_shaping(character))
        if unshaped:
            return unshaped
    return "".join(character for character in characters if font_of(character) is None)


@cache
def font_of(character: str) -> str | None:
    """The family of a font with this character, DejaVu Sans if it has it; None if no font has it."""
    for path in (font_manager.findfont(DEFAULT_FONT), *_other_fonts()):
        family, characters = _characters_of(str(path))
        if ord(character) in characters:
            if family not in {entry.name for entry in font_manager.fontManager.ttflist}:
                font_manager.fontManager.addfont(path)  # installed after matplotlib has made its list
            return family
    return None


def _families(text: str) -> list[str]:
    """DejaVu Sans and the other fonts that a text needs; matplotlib takes each character from the first that has it."""
    fonts = (font_of(character) for character in INVISIBLE.sub("", text))
    return list(dict.fromkeys([DEFAULT_FONT, *filter(None, fonts)]))


@cache
def _other_fonts() -> list[str]:
    """The regular fonts of this machine; sans-serif ones first."""
    paths = (Path(path) for path in font_manager.findSystemFonts())
    regular = [path for path in paths if not OTHER_STYLE.search(path.stem)]
    return [str(path) for path in sorted(regular, key=lambda path: ("sans" not in path.stem.lower(), path.stem))]


@cache
def _characters_of(path: str | os.PathLike[str]) -> tuple[str, frozenset[int]]:
    """The family of a font file and its code points; none if matplotlib cannot draw it, such as coloured emoji."""
    try:
        font = FT2Font(path)
        if not font.scalable:
            return "", frozenset()
        return font.family_name, frozenset(font.get_charmap())
    except (OSError, RuntimeError, ValueError):
        return "", frozenset()


def _needs_shaping(character: str) -> bool:
    """Whether letters join, change places, or run from right to left."""
    return unicodedata.bidirectional(character) in ("R", "AL") or unicodedata.category(character) == "Mc"


def _report(characters: Iterable[str]) -> None:
    """Warn once of each character that is not drawn."""
    new = sorted(set(characters) - _reported)
    if not new:
        return
    _reported.update(new)
    if not SHAPES_TEXT and any(map(_needs_shaping, new)):
        remedy = 'pip install "matplotlib>=3.11"'
    else:
        remedy = f"install one, as by apt-get install {' '.join(sorted(set(map(_package, new))))}"
    logger.warning(
        'no font on this machine can draw %s: figures and legends show "class <id>" for such names. For the names, %s',
        " ".join(new[:MAX_LISTED]) + (" ..." if len(new) > MAX_LISTED else ""),
        remedy,
    )


def _package(character: str) -> str:
    """The Debian package of a font that has the character."""
    name = unicodedata.name(character, "")
    if name.startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH")):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(character).startswith("S") else "fonts-noto-core"
