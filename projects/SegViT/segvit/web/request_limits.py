"""Requests that cost too much, or ask for files of others, end before the page sees them.

Gradio bounds the size of uploaded files, but not that of other requests; and where a file is expected, it would fetch
any address that it is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What the page's own scripts send, except for files.
MAX_EVENT_BYTES = 64 * 1024
# Around the file in an upload.
MAX_FORM_BYTES = 16 * 1024
UPLOAD_PATH = "/gradio_api/upload"
# The page needs scripts and styles in its text, but nothing from other servers.
CONTENT_SECURITY_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
    "frame-ancestors 'none'"
)


class RequestLimits:
    """An ASGI application around another, which never sees too large a body, or an event with an address in it.

    Args:
        app: the application.
        max_upload_bytes: of a file; other bodies are limited to `MAX_EVENT_BYTES`.
    """

    def __init__(self, app: ASGIApp, *, max_upload_bytes: int) -> None:
        self._app = app
        self._max_upload_bytes = max_upload_bytes + MAX_FORM_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; other kinds of events pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == UPLOAD_PATH:
            await self._receive_upload(scope, receive, send)
        else:
            await self._receive_event(scope, receive, send)

    async def _receive_upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Gradio writes it to the disk part by part; its length must be told before."""
        length = Headers(scope=scope).get("content-length", "")
        if not length.isdecimal():
            await PlainTextResponse("the length of an upload must be given", 411)(scope, receive, send)
        elif int(length) > self._max_upload_bytes:
            await PlainTextResponse("the file is too large", 413)(scope, receive, send)
        else:
            await self._app(scope, receive, _with_policy(send))

    async def _receive_event(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return  # the visitor has gone
            body += message.get("body", b"")
            if len(body) > MAX_EVENT_BYTES:
                await PlainTextResponse("the request is too large", 413)(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        try:
            event = json.loads(body) if body else None
        except (ValueError, RecursionError):
            await PlainTextResponse("the request is no JSON", 400)(scope, receive, send)
            return
        if any("://" in path or path.startswith("//") for path in _paths(event)):
            await PlainTextResponse("files are uploaded, not fetched", 403)(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), _with_policy(send))


def _paths(event: object) -> Iterator[str]:
    """Where the files in an event are said to be."""
    pending = [event]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("path"), str):
                yield item["path"]
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body again, and then what comes after it: that the visitor has gone."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _with_policy(send: Send) -> Send:
    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            policy = [
                (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"referrer-policy", b"no-referrer"),
            ]
            message = {**message, "headers": [*message["headers"], *policy]}
        await send(message)

    return send_with_policy
