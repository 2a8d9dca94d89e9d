"""Draw a model's predictions beside image and ground truth, for a few images of its test set.

draw_predictions.py --config-file FILE --output PNG [--num-images N] [KEY VALUE ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from detectron2.data import MetadataCatalog

import segvit.data  # noqa: F401  (registers the data sets)
from segvit.d2 import load_config
from segvit.engine.predictions import predict_sample
from segvit.visualization import draw_prediction_sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the PNG to write")
    parser.add_argument("--num-images", type=int, default=4)
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs such as MODEL.WEIGHTS model_best.pth")
    args = parser.parse_args()
    try:
        cfg = load_config(args.config_file, args.opts)
    except ValueError as error:
        parser.error(str(error))
    dataset = cfg.DATASETS.TEST[0]
    metadata = MetadataCatalog.get(dataset)
    predictions = predict_sample(cfg, dataset, args.num_images)
    draw_prediction_sheet(predictions, metadata.stuff_classes, metadata.stuff_colors, args.output)
    print(args.output)


if __name__ == "__main__":
    main()
