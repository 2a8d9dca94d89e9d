"""Draw image, ground truth and prediction side by side for a few images of a model's test set.

draw_predictions.py --model FOLDER_OR_NAME --output PNG [--num-images N] [KEY VALUE ...]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segvit.cli_errors import positive, user_errors
from segvit.command_line.model_arguments import add_trained_model, trained_config
from segvit.command_line.parser import CommandParser
from segvit.datasets.dataset_classes import class_list_of
from segvit.inference.predict_sample import first_test_set, predict_sample
from segvit.output_files import require_folder
from segvit.visualization import draw_prediction_sheet


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    add_trained_model(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="the file to write")
    parser.add_argument("--num-images", type=positive, default=4, metavar="N", help="rows of the drawing (default: 4)")
    parser.add_overrides()
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Predict and draw."""
    args = build_parser().parse_args(argv)
    cfg = trained_config(args)
    require_folder(args.output.parent, origin="--output")
    predictions = predict_sample(cfg, first_test_set(cfg), args.num_images)
    classes = class_list_of(cfg)
    draw_prediction_sheet(predictions, classes.names, classes.colors, args.output)
    print(args.output)


if __name__ == "__main__":
    main()
