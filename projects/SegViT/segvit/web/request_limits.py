"""`RequestLimits`: ASGI middleware that refuses oversized requests, and events that name files by URL.

Gradio limits the size of uploaded files but not of other requests, and it fetches any URL that an event gives in place
of an uploaded file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The page's own events are far smaller.
MAX_EVENT_BYTES = 64 * 1024
# An upload's form fields and boundaries, in addition to the file itself.
MAX_FORM_BYTES = 16 * 1024
UPLOAD_PATH = "/gradio_api/upload"
# The page needs inline scripts and styles, but nothing from other servers.
CONTENT_SECURITY_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
    "frame-ancestors 'none'"
)


class RequestLimits:
    """Wraps an ASGI application.

    Args:
        app: the wrapped application.
        max_upload_bytes: per uploaded file; other bodies are limited to `MAX_EVENT_BYTES`.
    """

    def __init__(self, app: ASGIApp, *, max_upload_bytes: int) -> None:
        self._app = app
        self._max_upload_bytes = max_upload_bytes + MAX_FORM_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check an HTTP request; other ASGI scopes pass unchecked."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == UPLOAD_PATH:
            await self._receive_upload(scope, receive, send)
        else:
            await self._receive_event(scope, receive, send)

    async def _receive_upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Require a Content-Length: Gradio writes an upload to disk while it receives it."""
        length = Headers(scope=scope).get("content-length", "")
        if not length.isdecimal():
            await PlainTextResponse("an upload needs a Content-Length", 411)(scope, receive, send)
        elif int(length) > self._max_upload_bytes:
            await PlainTextResponse("the file is too large", 413)(scope, receive, send)
        else:
            await self._app(scope, receive, _with_policy(send))

    async def _receive_event(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return  # The client has disconnected.
            body += message.get("body", b"")
            if len(body) > MAX_EVENT_BYTES:
                await PlainTextResponse("the request is too large", 413)(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        try:
            event = json.loads(body) if body else None
        except (ValueError, RecursionError):
            await PlainTextResponse("the request is not JSON", 400)(scope, receive, send)
            return
        if any("://" in path or path.startswith("//") for path in _paths(event)):
            await PlainTextResponse("files must be uploaded, not named by URL", 403)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), _with_policy(send))


def _paths(event: object) -> Iterator[str]:
    """All file paths in an event, at any depth."""
    pending = [event]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("path"), str):
                yield item["path"]
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body once more, then the messages after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def _with_policy(send: Send) -> Send:
    """A `send` that adds the security headers to responses."""

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
