"""`AccessRules`: ASGI middleware that refuses requests of foreign pages, requests without a bound, and URLs as files.

It decides by the headers alone, before a body is read. Gradio answers foreign pages, too, limits single files but no
other bodies, and fetches any public URL that is given in place of a file. A body in chunks has no bound, whatever its
Content-Length says.
"""

from __future__ import annotations

from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The page's own events are far smaller.
MAX_EVENT_BYTES = 64 * 1024
# An upload's form fields and boundaries, in addition to the file itself.
MAX_FORM_BYTES = 16 * 1024
UPLOAD_PATH = "/gradio_api/upload"
HEADERS = {
    # The page needs inline scripts and styles, but nothing from other servers.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class AccessRules:
    """Wraps an ASGI application.

    Args:
        app: the wrapped application.
        max_upload_bytes: per uploaded file; other bodies are limited to `MAX_EVENT_BYTES`.
    """

    def __init__(self, app: ASGIApp, *, max_upload_bytes: int) -> None:
        self._app = app
        self._max_upload_bytes = max_upload_bytes + MAX_FORM_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request with a refusal or by the application; other ASGI scopes pass unchecked."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        with suppress(ClientDisconnect):  # A client that leaves is no error of the server.
            await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, method: str, path: str, headers: Headers) -> PlainTextResponse | None:
        if _is_foreign(method, headers):
            return PlainTextResponse("requests of other pages are refused", 403)
        if "://" in path:
            return PlainTextResponse("a file is named by a path, not a URL", 403)
        if "transfer-encoding" in headers:
            return PlainTextResponse("the request needs a Content-Length, not a Transfer-Encoding", 411)
        length = headers.get("content-length", "")
        if method not in ("GET", "HEAD", "OPTIONS") and not length.isdecimal():
            return PlainTextResponse("the request needs a Content-Length", 411)
        if int(length or 0) > (self._max_upload_bytes if path == UPLOAD_PATH else MAX_EVENT_BYTES):
            return PlainTextResponse("the request is too large", 413)
        return None


def _is_foreign(method: str, headers: Headers) -> bool:
    """Whether a page from elsewhere sends the request. Links to this page may be anywhere."""
    host = headers.get("host", "").lower()
    origins = [origin.lower() for origin in headers.getlist("origin")]
    if origins:
        return any(origin not in (f"http://{host}", f"https://{host}") for origin in origins)
    # Browsers send no Origin with images, scripts and the like.
    is_link = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    return headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_link
