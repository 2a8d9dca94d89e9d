"""`predict_sample`: predictions on a few images of a dataset, with image and ground truth, ready to draw."""

from __future__ import annotations

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from segvit.data.label_reading import read_label_map
from segvit.datasets import require_datasets
from segvit.errors import UserError
from segvit.inference import SegViTPredictor
from segvit.visualization.overlays import Prediction


def predict_sample(cfg: CfgNode, dataset_name: str, num_images: int) -> list[Prediction]:
    """Segment `num_images` images, evenly spaced over a dataset, with the weights of MODEL.WEIGHTS.

    Raises:
        UserError: for empty MODEL.WEIGHTS, an unknown dataset, weights that do not fit, and damaged files.
        OSError: for missing or unreadable files.
    """
    if not cfg.MODEL.WEIGHTS:
        raise UserError("MODEL.WEIGHTS is empty: name the checkpoint whose predictions are to be drawn")
    require_datasets([dataset_name])
    predictor = SegViTPredictor(cfg)
    records = DatasetCatalog.get(dataset_name)
    chosen = np.linspace(0, len(records) - 1, min(num_images, len(records))).round().astype(int)
    predictions = []
    for index in chosen:
        pixels = predictor.image_format.read(records[index]["file_name"])
        truth = read_label_map(records[index]["sem_seg_file_name"])
        (labels,) = predictor.segment_pixels([pixels])
        predictions.append(Prediction(image=predictor.image_format.to_rgb(pixels), truth=truth, labels=labels))
    return predictions


def first_test_set(cfg: CfgNode) -> str:
    """The first dataset of DATASETS.TEST. Raises UserError if there is none."""
    if not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty: name a dataset, such as \"('folder_val',)\"")
    return cfg.DATASETS.TEST[0]
