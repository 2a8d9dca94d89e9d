"""Figures as files."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.figure import Figure

from segvit.output_files import written_whole


def save_figure(figure: Figure, output: str | os.PathLike[str], *, dpi: int) -> None:
    """Write a figure whole, in the format that the extension stands for. Raises ValueError where it stands for none."""
    known = figure.canvas.get_supported_filetypes()
    if Path(output).suffix.removeprefix(".").lower() not in known:
        raise ValueError(f"{output}: the name of a picture ends in .png, or another of .{', .'.join(sorted(known))}")
    with written_whole(output) as unfinished:
        figure.savefig(unfinished, dpi=dpi)
