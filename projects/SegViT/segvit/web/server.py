"""`serve`: runs the web page at one address, with its files in a temporary folder, and nothing else."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from segvit.web.analysis import ImageAnalyzer
from segvit.web.page import Page
from segvit.web.request_limits import RequestLimits

# Open connections; each visitor holds up to three.
MAX_CONNECTIONS = 128
# Running requests may finish for this many seconds after the server is stopped.
SHUTDOWN_TIMEOUT = 3


def serve(analyzer: ImageAnalyzer, *, host: str, port: int, max_waiting: int, announce: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM. Call it from the main thread, since it installs a signal handler.

    Args:
        analyzer: segments the uploaded images.
        host: an address of this machine; only a loopback address keeps the page private.
        port: 0 takes a free one.
        max_waiting: images that may wait; more are refused.
        announce: called with the page's URL once it accepts connections.

    Raises:
        OSError: for an address that is not this machine's, and a port in use.
    """
    with _listen(host, port) as listener, tempfile.TemporaryDirectory(prefix="segvit-web-") as folder:
        # Uvicorn shuts down and raises the signal again; the default handler would then skip the clean-up.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        # Gradio stores uploads and images here.
        os.environ["GRADIO_TEMP_DIR"] = folder
        app = build_app(analyzer, host=host, max_waiting=max_waiting)
        config = uvicorn.Config(
            app,
            log_level="warning",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        )
        address, number = listener.getsockname()[:2]
        announce(f"http://{f'[{address}]' if ':' in address else address}:{number}/")
        uvicorn.Server(config).run(sockets=[listener])


def build_app(analyzer: ImageAnalyzer, *, host: str, max_waiting: int) -> FastAPI:
    """The page as an ASGI application that serves only files in GRADIO_TEMP_DIR and has no REST interface."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    gr.mount_gradio_app(
        app,
        Page(analyzer, max_waiting=max_waiting).build(),
        path="/",
        footer_links=[],
        run_history=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        allowed_paths=[],
        show_error=False,
        max_file_size=analyzer.limits.max_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(font=fonts, font_mono=[gr.themes.Font("monospace")]),
    )
    if _is_loopback(host):
        # Against DNS rebinding: a foreign page could resolve its own name to 127.0.0.1.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", host])
    app.add_middleware(RequestLimits, max_upload_bytes=analyzer.limits.max_bytes)
    return app


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(f"{host}:{port}: {error.strerror}; choose another with --host and --port") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
