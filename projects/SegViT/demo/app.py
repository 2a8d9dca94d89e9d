"""Web page that segments uploaded images and shows the areas and masks of their classes.

app.py --model FOLDER_OR_NAME [--port PORT] [KEY VALUE ...]

--config-file FILE --weights FILE, a config and a checkpoint, can stand for --model.

Needs Gradio: pip install -e ".[demo]". Only this machine can open the page (127.0.0.1) unless --host is given. Stop it
with Ctrl-C.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from urllib.parse import urlsplit

from segvit.cli_errors import positive, user_errors
from segvit.command_line.model_arguments import add_trained_model, predictor_of
from segvit.command_line.parser import CommandParser
from segvit.errors import UserError
from segvit.inference.inspect_image import whole_image_overrides
from segvit.web.analysis import ImageAnalyzer
from segvit.web.limits import UploadLimits

# Gradio reads these variables when it is imported.
NO_TELEMETRY = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}


@user_errors()
def main() -> None:
    args = parse_arguments()
    os.environ.update(NO_TELEMETRY)
    serve = import_server()
    args.opts = whole_image_overrides(args.opts)
    predictor = predictor_of(args)
    limits = UploadLimits(
        max_megabytes=args.max_megabytes,
        max_megapixels=args.max_megapixels,
        work_megapixels=args.work_megapixels,
        seconds=args.seconds,
    )
    analyzer = ImageAnalyzer(predictor, limits=limits)
    analyzer.warm_up()
    serve(
        analyzer,
        host=args.host,
        port=args.port,
        max_waiting=args.max_waiting,
        announce=announce,
        public_url=args.public_url or "",
    )


def announce(address: str) -> None:
    print(address, flush=True)


def import_server() -> Callable[..., None]:
    """`segvit.web.server.serve`, or a UserError if Gradio is not installed."""
    try:
        from segvit.web.server import serve
    except ModuleNotFoundError as error:
        raise UserError(f'the web page needs {error.name}: pip install -e ".[demo]"') from error
    return serve


def build_parser() -> CommandParser:
    """The arguments of the command."""
    limits = UploadLimits()
    parser = CommandParser(description=__doc__)
    add_trained_model(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to listen on; 0.0.0.0 admits the network (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--port", type=int, default=7860, metavar="N", help="the port; 0 takes a free one (default: 7860)"
    )
    parser.add_argument(
        "--public-url",
        type=url,
        metavar="URL",
        help="the page's URL behind a reverse proxy, such as https://example.org (default: none)",
    )
    amounts = {
        "max_megabytes": "refuse larger files",
        "max_megapixels": "refuse larger images",
        "work_megapixels": "scale larger images down to this size",
        "seconds": "refuse an image that takes longer to decode",
    }
    for name, meaning in amounts.items():
        default = getattr(limits, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=amount, default=default, metavar="N", help=f"{meaning} (default: {default})")
    parser.add_argument(
        "--max-waiting",
        type=positive,
        default=8,
        metavar="N",
        help="refuse an image if this many are waiting (default: 8)",
    )
    parser.add_overrides()
    return parser


def parse_arguments() -> argparse.Namespace:
    """The arguments, checked."""
    parser = build_parser()
    args = parser.parse_args()
    if not 0 <= args.port < 2**16:
        parser.error(f"--port {args.port} must be from 0 to {2**16 - 1}")
    return args


def amount(text: str) -> float:
    """An argparse type: a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def url(text: str) -> str:
    """An argparse type: an http or https URL."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text} does not begin with http:// or https:// and a name")
    return text


if __name__ == "__main__":
    main()
