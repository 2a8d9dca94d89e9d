"""`serve`: Gradio's server with the page, its files in a temporary folder, and nothing else."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import gradio as gr
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from segvit.web.access import AccessRules
from segvit.web.analysis import ImageAnalyzer
from segvit.web.expiry import expiring_files
from segvit.web.page import EXPIRY, MAX_VISITORS, Page

# Old files are looked for every CLEANUP_INTERVAL seconds.
CLEANUP_INTERVAL = 60
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def serve(
    analyzer: ImageAnalyzer,
    *,
    host: str,
    port: int,
    max_waiting: int,
    announce: Callable[[str], None],
    public_url: str = "",
) -> None:
    """Serve the page until Ctrl-C or SIGTERM. Call it from the main thread, since it installs a signal handler.

    Args:
        announce: called with the page's address once it accepts connections.
        analyzer, host, port, max_waiting, public_url: see `running_page`.

    Raises:
        OSError: for an address that is not this machine's, and a port in use.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with (
        tempfile.TemporaryDirectory(prefix="segvit-web-") as folder,
        running_page(
            analyzer, folder=Path(folder), host=host, port=port, max_waiting=max_waiting, public_url=public_url
        ) as address,
    ):
        announce(address)
        threading.Event().wait()


@contextmanager
def running_page(
    analyzer: ImageAnalyzer, *, folder: Path, host: str, port: int, max_waiting: int, public_url: str = ""
) -> Iterator[str]:
    """Run the page in a thread while the `with` block runs, and give its address.

    Args:
        analyzer: segments the uploaded images.
        folder: for uploads and the images of the page. Other files are neither read nor served.
        host: an address of this machine; only a loopback address keeps the page private.
        port: 0 takes a free one.
        max_waiting: images that may wait; more are refused.
        public_url: the page's URL behind a reverse proxy.

    Raises:
        OSError: for an address that is not this machine's, and a port in use.
    """
    port = _free_port(host, port)
    _set_environment(folder, host)
    blocks = Page(analyzer, folder=folder, max_waiting=max_waiting).build()
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    address = f"[{host}]" if ":" in host else host
    try:
        blocks.launch(
            server_name=address,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            inline=False,
            share=False,
            show_error=False,
            max_file_size=analyzer.limits.max_bytes,
            state_session_capacity=MAX_VISITORS,
            root_path=public_url,
            app_kwargs={
                "docs_url": None,
                "redoc_url": None,
                "openapi_url": None,
                "middleware": _middleware(analyzer, host, public_url),
                "exception_handlers": {RequestValidationError: _refuse_malformed},
            },
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            num_workers=0,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=gr.themes.Default(font=fonts, font_mono=[gr.themes.Font("monospace")]),
        )
        with expiring_files(folder, age=EXPIRY, interval=CLEANUP_INTERVAL):
            yield f"http://{address}:{port}/"
    finally:
        blocks.close(verbose=False)


def _set_environment(folder: Path, host: str) -> None:
    """Set the variables that Gradio reads when it builds a page."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    # By default Gradio also serves a folder of that kind below the current one.
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder)
    # Without a list of its own, Gradio takes the one in this variable.
    os.environ["GRADIO_ALLOWED_PATHS"] = ""
    # Gradio requests the page once, which a proxy for outgoing requests could not.
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = ",".join(filter(None, (direct, "localhost", "127.0.0.1", host)))


def _middleware(analyzer: ImageAnalyzer, host: str, public_url: str) -> list[Middleware]:
    rules = [Middleware(AccessRules, max_upload_bytes=analyzer.limits.max_bytes)]
    if _is_loopback(host):
        # Against DNS rebinding: a foreign page could resolve its own name to 127.0.0.1.
        names = filter(None, (*LOOPBACK_NAMES, host, urlsplit(public_url).hostname))
        rules.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(names)))
    return rules


async def _refuse_malformed(request: Request, error: Exception) -> Response:
    """In place of FastAPI's answer, which repeats the request and fails on bytes that are not UTF-8."""
    return PlainTextResponse("the request is malformed", 422)


def _free_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises OSError if it cannot be used: Gradio's own error names no reason."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as listener:
            return listener.getsockname()[1]
    except OSError as error:
        raise OSError(f"{host}:{port}: {error.strerror}; choose another with --host and --port") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
