"""Fit the temperature of a model's confidence on its test set, and report the calibration error before and after.

calibrate.py --model FOLDER [--dataset NAME] [--output PNG] [--dry-run] [KEY VALUE ...]

Every second image of the dataset fits the temperature, the others measure it. It is stored in the model folder, as
TEST.CONFIDENCE_TEMPERATURE of its config, and exports carry it. Labels and scores do not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog

from segvit.cli_errors import positive, user_errors
from segvit.command_line.model_arguments import add_trained_model, trained_config
from segvit.command_line.parser import CommandParser
from segvit.data.label_reading import read_label_map
from segvit.datasets import require_datasets
from segvit.errors import UserError
from segvit.evaluation.confidence import Reliability, fit_temperature, reliability
from segvit.inference import SegViTPredictor
from segvit.inference.predict_sample import first_test_set
from segvit.model_folder.files import is_model_folder, set_folder_keys
from segvit.model_folder.finding import find_model
from segvit.output_files import require_folder
from segvit.progress import progress_bar
from segvit.visualization.reliability import draw_reliability

KEY = "TEST.CONFIDENCE_TEMPERATURE"
# Pixels of all images together that are compared: neighbours say little more.
NUM_PIXELS = 400_000


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    add_trained_model(parser)
    parser.add_argument("--dataset", metavar="NAME", help="the dataset (default: the first of DATASETS.TEST)")
    parser.add_argument("--output", type=Path, metavar="PNG", help="a reliability diagram to write (default: none)")
    parser.add_argument(
        "--pixels",
        type=positive,
        default=NUM_PIXELS,
        metavar="N",
        help=f"pixels to draw at random (default: {NUM_PIXELS})",
    )
    parser.add_argument("--dry-run", action="store_true", help="measure only (default: store the temperature)")
    parser.add_overrides()
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Fit, measure and store."""
    args = build_parser().parse_args(argv)
    folder = find_model(args.model) if args.model else None
    if not args.dry_run and (folder is None or not is_model_folder(folder)):
        raise UserError("--config-file has no model folder to store the temperature in: name --model, or --dry-run")
    if args.output is not None:
        require_folder(args.output.parent, origin="--output")
    cfg = trained_config(args)
    dataset = args.dataset or first_test_set(cfg)
    require_datasets([dataset])
    records = DatasetCatalog.get(dataset)
    if len(records) < 2:
        raise UserError(f"dataset {dataset!r} has {len(records)} images: calibration needs two")
    scores, truth, is_fitted = sample_pixels(SegViTPredictor(cfg), records, args.pixels)
    temperature = fit_temperature(scores[:, is_fitted], truth[is_fitted])
    measured = {factor: reliability(scores[:, ~is_fitted], truth[~is_fitted], factor) for factor in (1.0, temperature)}
    print(f"temperature {temperature:.3f}, fitted on every second of the {len(records)} images of {dataset}")
    for factor, result in measured.items():
        print(f"expected calibration error on the others with temperature {factor:.3f}: {100 * result.error:.2f} %")
    if args.output is not None:
        draw_reliability(
            {f"temperature {factor:.3f}": curve(result) for factor, result in measured.items()}, args.output
        )
        print(args.output)
    if folder is not None and not args.dry_run:
        set_folder_keys(folder, {KEY: round(temperature, 4)})
        print(f"{folder}: {KEY} {temperature:.4f}")


def curve(result: Reliability) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the diagram draws."""
    return result.confidence.numpy(), result.accuracy.numpy(), result.pixels.numpy()


def sample_pixels(
    predictor: SegViTPredictor, records: Sequence[Mapping[str, Any]], count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random labelled pixels of all images: scores (K, N), true classes (N,), and whether the temperature is fitted on
    them (N,). Background and ignored pixels are left out."""
    generator = np.random.default_rng(0)
    num_classes, ignored = predictor.num_classes, predictor.cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    scores, truths, is_fitted = [], [], []
    for index, record in enumerate(progress_bar(records, title="calibrating", unit="image")):
        truth = read_label_map(record["sem_seg_file_name"]).astype(np.int64).ravel()
        labelled = np.flatnonzero((truth < num_classes) & (truth != ignored))
        chosen = generator.permutation(labelled)[: -(-count // len(records))]
        pixels = predictor.image_format.read(record["file_name"])
        (found,) = predictor.segment_pixels([pixels], output="scores")
        scores.append(torch.from_numpy(found.reshape(len(found), -1)[:, chosen]))
        truths.append(torch.from_numpy(truth[chosen]))
        is_fitted.append(torch.full((len(chosen),), index % 2 == 0))
    return torch.cat(scores, dim=1), torch.cat(truths), torch.cat(is_fitted)


if __name__ == "__main__":
    main()
