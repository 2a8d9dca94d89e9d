"""The diagnosis in pictures: class histogram and contact sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segvit.data.image_reading import read_image, read_levels
from segvit.dataset_tools.doctor.examination import Diagnosis
from segvit.visualization import draw_class_histogram, draw_contact_sheet, make_cell


def draw_histogram(diagnosis: Diagnosis, output: Path) -> None:
    """Shares of the labelled pixels by class and split."""
    shares = {split: counts.pixel_shares for split, counts in diagnosis.counts.items()}
    draw_class_histogram(shares, diagnosis.subject.classes.names, output)


def draw_samples(diagnosis: Diagnosis, output: Path, *, num_images: int) -> bool:
    """Label maps over their images, spread evenly over the pairs that can be drawn; False where there are none."""
    sound = [(split, it.pair) for split, items in diagnosis.inspections.items() for it in items if it.is_sound]
    chosen = np.linspace(0, len(sound) - 1, min(num_images, len(sound))).round().astype(int)
    cells = [
        make_cell(read_image(pair.image, format="RGB"), read_levels(pair.label_map), f"{split}/{pair.stem}")
        for split, pair in (sound[index] for index in chosen)
    ]
    if cells:
        draw_contact_sheet(cells, diagnosis.subject.classes.names, diagnosis.subject.classes.colors, output)
    return bool(cells)
