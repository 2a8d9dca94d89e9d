"""Predictions of a model on a sample of a data set, ready to be drawn."""

from __future__ import annotations

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.data.detection_utils import read_image
from detectron2.engine import DefaultPredictor

from segvit.modeling.winning_classes import predicted_labels
from segvit.visualization.overlays import Prediction


def predict_sample(cfg: CfgNode, dataset_name: str, num_images: int) -> list[Prediction]:
    """Segment images spread evenly over a data set with the weights of MODEL.WEIGHTS, at their own size.

    Raises ValueError where MODEL.WEIGHTS is empty: predictions of random weights are not worth drawing.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("MODEL.WEIGHTS is empty: name the checkpoint whose predictions are to be drawn")
    predictor = DefaultPredictor(cfg)
    records = DatasetCatalog.get(dataset_name)
    chosen = np.linspace(0, len(records) - 1, min(num_images, len(records))).round().astype(int)
    predictions = []
    for index in chosen:
        image = read_image(records[index]["file_name"], format="BGR")
        labels = predicted_labels(predictor(image)).cpu().numpy()
        truth = read_image(records[index]["sem_seg_file_name"])
        predictions.append(Prediction(image=image[:, :, ::-1], truth=truth, labels=labels))
    return predictions
