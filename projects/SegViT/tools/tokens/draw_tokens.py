"""Draw the edge scores, kept tokens and class masks of a model over an image.

draw_tokens.py --model FOLDER_OR_NAME --input IMAGE [IMAGE ...] --output FOLDER [--classes NAME ...] [KEY VALUE ...]

Edge scores exist for models with Shrunk++ only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from segvit.cli_errors import local_path, user_errors
from segvit.command_line.model_arguments import add_trained_model, predictor_of
from segvit.command_line.parser import CommandParser
from segvit.errors import UserError
from segvit.inference.inspect_image import ModelView, inspect_image, whole_image_overrides
from segvit.output_files import require_folder
from segvit.progress import progress_bar
from segvit.visualization.token_views import draw_token_views

NUM_MOST_PROBABLE = 3


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    add_trained_model(parser)
    parser.add_argument(
        "--input", type=local_path, nargs="+", required=True, metavar="IMAGE", help="the images to draw"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="the folder for the drawings, a PNG per image"
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="draw the masks of these classes (default: the three most probable ones)",
    )
    parser.add_overrides()
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Segment and draw."""
    args = build_parser().parse_args(argv)
    missing = [str(path) for path in args.input if not path.is_file()]
    if missing:
        raise UserError(f"--input: no such file: {', '.join(missing)}")
    repeated = [stem for stem, count in Counter(path.stem for path in args.input).items() if count > 1]
    if repeated:
        raise UserError(f"--input: several images are named {repeated[0]!r}, and would share a drawing")
    require_folder(args.output, origin="--output")
    predictor = predictor_of(args, opts=whole_image_overrides(args.opts))
    names = predictor.class_names
    chosen = [class_index(name, names) for name in args.classes]
    for path in progress_bar(args.input, title="drawing", unit="image"):
        view = inspect_image(predictor, path)
        draw_token_views(
            view.image,
            edge_scores=view.edge_scores,
            kept=view.kept,
            masks=[mask_panel(view, index, names) for index in chosen or most_probable(view)],
            patch_size=view.patch_size,
            output=args.output / f"{path.stem}.png",
        )
    print(args.output)


def class_index(name: str, names: Sequence[str]) -> int:
    """The id of a class. Raises UserError, with the nearest names, if the model has no such class."""
    if name not in names:
        near = get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
        raise UserError(f"--classes: the model has no class {name!r}; near: {', '.join(near)}")
    return names.index(name)


def most_probable(view: ModelView) -> list[int]:
    """The ids of the classes whose queries give them the highest probabilities."""
    return view.probabilities.argsort()[::-1][:NUM_MOST_PROBABLE].tolist()


def mask_panel(view: ModelView, index: int, names: Sequence[str]) -> tuple[str, np.ndarray]:
    """Title and mask of a class."""
    return f"{names[index]} (p = {view.probabilities[index]:.2f})", view.masks[index]


if __name__ == "__main__":
    main()
