"""Draw what a model sees in an image: edge scores and kept tokens (Shrunk++), and the masks of chosen classes.

draw_tokens.py --config-file FILE --input IMAGE [IMAGE ...] --output FOLDER [--classes NAME ...] [--opts KEY VALUE ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from tqdm import tqdm

from segvit.cli_errors import user_errors
from segvit.d2 import load_config
from segvit.data.image_reading import read_image
from segvit.errors import UserError
from segvit.inference import SegViTPredictor
from segvit.inference.class_names import class_list_of
from segvit.inference.inspect_image import Inspection, inspect_image
from segvit.output_files import require_folder
from segvit.visualization.token_views import draw_token_views

NUM_MOST_PROBABLE = 3


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Segment and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", type=Path, required=True)
    parser.add_argument("--input", type=Path, nargs="+", required=True, help="images")
    parser.add_argument("--output", type=Path, required=True, help="the folder for one PNG per image")
    parser.add_argument("--classes", nargs="+", default=[], help="their masks; by default the three most probable")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs, MODEL.WEIGHTS one of them"
    )
    args = parser.parse_args(argv)
    cfg = load_config(args.config_file, [*args.opts, "TEST.WINDOW.ENABLED", False, "TEST.AUG.ENABLED", False])
    names = class_list_of(cfg).names
    chosen = [class_index(name, names) for name in args.classes]
    if not cfg.MODEL.WEIGHTS:
        raise UserError("MODEL.WEIGHTS is empty: name a checkpoint, --opts MODEL.WEIGHTS output/model_final.pth")
    missing = [str(path) for path in args.input if not path.is_file()]
    if missing:
        raise UserError(f"--input: no such file: {', '.join(missing)}")
    require_folder(args.output, origin="--output")
    predictor = SegViTPredictor(cfg)
    for path in tqdm(args.input, unit="image"):
        inspection = inspect_image(predictor, read_image(path, format="BGR"))
        draw_token_views(
            inspection.image,
            edge_scores=inspection.edge_scores,
            kept=inspection.kept,
            masks=[mask_panel(inspection, index, names) for index in chosen or most_probable(inspection)],
            patch_size=inspection.patch_size,
            output=args.output / f"{path.stem}.png",
        )
    print(args.output)


def class_index(name: str, names: Sequence[str]) -> int:
    """The id of a class. Raises UserError, with the nearest names, where the data set has none of that name."""
    if name not in names:
        near = get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
        raise UserError(f"--classes: the data set has no class {name!r}; near: {', '.join(near)}")
    return names.index(name)


def most_probable(inspection: Inspection) -> list[int]:
    """The ids of the classes that the model is surest to see."""
    return inspection.probabilities.argsort()[::-1][:NUM_MOST_PROBABLE].tolist()


def mask_panel(inspection: Inspection, index: int, names: Sequence[str]) -> tuple[str, object]:
    """The title and the values of a class's panel."""
    return f"{names[index]} (p = {inspection.probabilities[index]:.2f})", inspection.masks[index]


if __name__ == "__main__":
    main()
