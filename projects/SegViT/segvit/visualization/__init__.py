"""Pictures of what a model sees and how a run went. No window is opened and no global plotting state touched."""

from segvit.visualization.curves import draw_training_curves, read_metrics
from segvit.visualization.overlays import blend_labels, draw_prediction_sheet

__all__ = ["blend_labels", "draw_prediction_sheet", "draw_training_curves", "read_metrics"]
