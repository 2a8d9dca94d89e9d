"""Figures as files."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from segvit.errors import UserError
from segvit.output_files import atomic_write


def require_figure_name(output: str | os.PathLike[str]) -> None:
    """Raise UserError where the extension stands for no format of figures: to be asked before long work."""
    known = FigureCanvasBase.get_supported_filetypes()
    if Path(output).suffix.removeprefix(".").lower() not in known:
        raise UserError(f"{output}: the name of a picture ends in .png, or another of .{', .'.join(sorted(known))}")


def save_figure(figure: Figure, output: str | os.PathLike[str], *, dpi: int) -> None:
    """Write a figure whole, in the format that the extension stands for. Raises UserError where it stands for none."""
    require_figure_name(output)
    with atomic_write(output) as unfinished:
        figure.savefig(unfinished, dpi=dpi)
