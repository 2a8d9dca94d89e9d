"""A web page that segments pictures, with the areas and masks of their classes. Needs Gradio: pip install -e ".[demo]"

app.py --config-file FILE [--weights FILE] [--port PORT] [--opts KEY VALUE ...]

The page is for this machine alone (127.0.0.1), unless --host says otherwise. It ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from segvit.cli_errors import positive, user_errors
from segvit.errors import UserError
from segvit.inference import SegViTPredictor
from segvit.web.analysis import PictureAnalyst
from segvit.web.uploads import UploadLimits

# Gradio reads them when it is imported.
SILENT = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
WHOLE_PICTURES = ("TEST.WINDOW.ENABLED", False, "TEST.AUG.ENABLED", False)


@user_errors()
def main() -> None:
    args = parse_arguments()
    os.environ.update(SILENT)
    serve = import_server()
    predictor = SegViTPredictor(args.config_file, args.weights, opts=[*args.opts, *WHOLE_PICTURES])
    limits = UploadLimits(
        max_megabytes=args.max_megabytes,
        max_megapixels=args.max_megapixels,
        work_megapixels=args.work_megapixels,
    )
    analyst = PictureAnalyst(predictor, limits=limits, seconds=args.seconds)
    analyst.rehearse()
    serve(analyst, host=args.host, port=args.port, max_waiting=args.max_waiting, announce=announce)


def announce(address: str) -> None:
    print(address, flush=True)


def import_server() -> Callable[..., None]:
    """`serve` of the package's part that needs Gradio."""
    try:
        from segvit.web.server import serve
    except ModuleNotFoundError as error:
        raise UserError(f'the web page needs {error.name}: pip install -e ".[demo]"') from error
    return serve


def parse_arguments() -> argparse.Namespace:
    limits = UploadLimits()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="a YAML file, or the name of a config of the project")
    parser.add_argument("--weights", type=Path, help="the checkpoint; by default MODEL.WEIGHTS")
    parser.add_argument("--host", default="127.0.0.1", help="the address; 0.0.0.0 lets the whole network in")
    parser.add_argument("--port", type=int, default=7860, help="7860 by default; 0 takes a free one")
    parser.add_argument("--max-megabytes", type=amount, default=limits.max_megabytes, help="of a file")
    parser.add_argument("--max-megapixels", type=amount, default=limits.max_megapixels, help="more are refused")
    parser.add_argument(
        "--work-megapixels", type=amount, default=limits.work_megapixels, help="larger pictures are scaled down to it"
    )
    parser.add_argument("--seconds", type=amount, default=60, help="that the model may take for a picture")
    parser.add_argument("--max-waiting", type=positive, default=8, help="pictures; more are turned away")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs, last on the line")
    args = parser.parse_args()
    if not 0 <= args.port < 2**16:
        parser.error(f"--port {args.port} must be from 0 to {2**16 - 1}")
    return args


def amount(text: str) -> float:
    """A number above 0, as argparse wants to be told the type of an option."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


if __name__ == "__main__":
    main()
