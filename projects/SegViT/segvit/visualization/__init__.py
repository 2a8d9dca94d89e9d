"""Overlays, legends, curves and figures of models, datasets and runs.

No window is opened and no global plotting state touched.
"""

from segvit.visualization.curves import draw_training_curves, read_metrics
from segvit.visualization.dataset_figures import draw_class_histogram, draw_contact_sheet, make_cell
from segvit.visualization.legend import LegendOverlay
from segvit.visualization.overlays import blend_labels, color_labels, draw_prediction_sheet

__all__ = [
    "LegendOverlay",
    "blend_labels",
    "color_labels",
    "draw_class_histogram",
    "draw_contact_sheet",
    "draw_prediction_sheet",
    "draw_training_curves",
    "make_cell",
    "read_metrics",
]
