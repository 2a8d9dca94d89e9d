"""Evaluate the edge head of a Shrunk++ model on its test set: average precision, recall, and fraction of kept patches.

evaluate_edges.py --model FOLDER_OR_NAME [--json] [KEY VALUE ...]
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from tabulate import tabulate

from segvit.cli_errors import user_errors
from segvit.command_line.model_arguments import add_trained_model, trained_config
from segvit.command_line.parser import CommandParser
from segvit.data.label_reading import read_label_map
from segvit.datasets import require_datasets
from segvit.errors import UserError
from segvit.evaluation.edge_quality import EdgeQuality, edge_quality
from segvit.inference import SegViTPredictor
from segvit.inference.inspect_image import inspect_image, whole_image_overrides
from segvit.inference.predict_sample import first_test_set
from segvit.modeling.losses.edge_loss import edge_patches
from segvit.modeling.tokens import pad_to_size
from segvit.progress import progress_bar


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    add_trained_model(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object (default: a table)")
    parser.add_overrides()
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate a config's model and print the results."""
    args = build_parser().parse_args(argv)
    cfg = trained_config(args, whole_image_overrides(args.opts))
    if cfg.MODEL.VIT.REDUCTION not in ("shrunk++", "cells"):
        raise UserError(f"MODEL.VIT.REDUCTION {cfg.MODEL.VIT.REDUCTION!r} has no edge head: 'shrunk++' or 'cells' has")
    quality = evaluate_edges(cfg)
    if args.json:
        print(json.dumps(quality))
    else:
        print(tabulate(quality.items(), headers=(cfg.DATASETS.TEST[0], ""), floatfmt=".3f"))


def evaluate_edges(cfg: CfgNode) -> EdgeQuality:
    """The quality over all patches of the first test set; label maps are resized (nearest) to the model's input."""
    dataset = first_test_set(cfg)
    require_datasets([dataset])
    predictor = SegViTPredictor(cfg)
    scores: list[np.ndarray] = []
    edges: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    for record in progress_bar(DatasetCatalog.get(dataset), title="edges", unit="image"):
        inspection = inspect_image(predictor, record["file_name"])
        height, width = inspection.image.shape[:2]
        labels = cv2.resize(
            read_label_map(record["sem_seg_file_name"]), (width, height), interpolation=cv2.INTER_NEAREST
        )
        grid = inspection.kept.shape
        size = (grid[0] * inspection.patch_size, grid[1] * inspection.patch_size)
        ignore_value = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        padded = pad_to_size(torch.from_numpy(labels).long()[None], size, value=ignore_value)
        edges.append(edge_patches(padded, grid, ignore_value=ignore_value).flatten().numpy())
        assert inspection.edge_scores is not None, "main requires a model with an edge head"
        scores.append(inspection.edge_scores.flatten())
        kept.append(inspection.kept.flatten())
    return edge_quality(np.concatenate(scores), np.concatenate(edges), np.concatenate(kept))


if __name__ == "__main__":
    main()
