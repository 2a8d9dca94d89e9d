"""Serves the page, and nothing else: from its own temporary folder, at one address, without a tunnel."""

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

from segvit.web.analysis import PictureAnalyst
from segvit.web.page import Page
from segvit.web.request_limits import RequestLimits

# Connections at a time; each visitor holds up to three.
MAX_CONNECTIONS = 128
SECONDS_TO_FINISH = 3


def serve(analyst: PictureAnalyst, *, host: str, port: int, max_waiting: int, announce: Callable[[str], None]) -> None:
    """Answer requests until the process is interrupted or told to end. For the main thread: it handles SIGTERM.

    Args:
        analyst: behind the page.
        host: an address of this machine; only a loopback address keeps the page private.
        port: 0 takes one that is free.
        max_waiting: pictures that may wait.
        announce: is told the page's address once it can be asked for.

    Raises:
        OSError: where the address is not this machine's, or the port is taken.
    """
    with _listening(host, port) as listener, tempfile.TemporaryDirectory(prefix="segvit-web-") as folder:
        # Uvicorn shuts down and raises the signal again; by default the process would then end without tidying up.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        os.environ["GRADIO_TEMP_DIR"] = folder  # where Gradio keeps uploads and pictures
        app = build_app(analyst, host=host, max_waiting=max_waiting)
        config = uvicorn.Config(
            app,
            log_level="warning",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=SECONDS_TO_FINISH,
        )
        address, number = listener.getsockname()[:2]
        announce(f"http://{f'[{address}]' if ':' in address else address}:{number}/")
        uvicorn.Server(config).run(sockets=[listener])


def build_app(analyst: PictureAnalyst, *, host: str, max_waiting: int) -> FastAPI:
    """The page as an application: no files but those of its own folder (GRADIO_TEMP_DIR), no REST interface."""
    undocumented = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    app = FastAPI(**undocumented)
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    gr.mount_gradio_app(
        app,
        Page(analyst, max_waiting=max_waiting).build(),
        path="/",
        footer_links=[],
        run_history=False,
        app_kwargs=undocumented,
        allowed_paths=[],
        show_error=False,
        max_file_size=analyst.limits.max_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(font=fonts, font_mono=[gr.themes.Font("monospace")]),
    )
    if _is_loopback(host):  # else a page elsewhere could reach it through a name that it points here
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", host])
    app.add_middleware(RequestLimits, max_upload_bytes=analyst.limits.max_bytes)
    return app


def _listening(host: str, port: int) -> socket.socket:
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
