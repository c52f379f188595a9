"""Who is answered, and how much is taken: what stands before every route of the Studio."""

from __future__ import annotations

import re
from typing import Any

MAX_BODY = 128 * 1024 * 1024
"""Bytes of a request: a picture of the largest upload (64 MB) in base64, with room for a mask."""
MAX_IMAGE_PIXELS = 64_000_000
"""Of the pictures of a request, all together; of an upload to the page."""
_OWN = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)


class OnlyFromHere:
    """Refuses what another web page makes the browser send, and bodies that are too large.

    A foreign Host is DNS rebinding; an Origin that is not the Host, or a browser's word that a page of elsewhere asks
    (Sec-Fetch-Site), is that page's doing. Following a link to the Studio is allowed, showing it in a frame is not.
    Programs send none of these headers but Host.
    """

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
            refused = _refusal(headers)
            if refused:
                from starlette.responses import PlainTextResponse

                status, text = refused
                await PlainTextResponse(text, status_code=status)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _refusal(headers: dict[str, str]) -> tuple[int, str] | None:
    """(status, words), or None for what may pass."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if not _OWN.fullmatch(host) or (origin is not None and origin.lower() != f"http://{host.lower()}"):
        return 403, "This server answers only to pages of its own."
    followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not followed:
        return 403, "This server answers only to pages of its own."
    if "transfer-encoding" in headers:
        return 411, "A request says how long it is: Content-Length is missing."
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY:
        return 413, f"Content-Length: {length[:20]} is not allowed; allowed is at most {MAX_BODY} bytes."
    return None


def fetch_nothing() -> None:
    """Gradio would fetch a file that a request names by address (``file=https://…``, or an event's ``path``): in this
    process it does not."""
    import safehttpx

    async def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError("addresses are not fetched; allowed is an upload")

    safehttpx.get = safehttpx.async_validate_url = refuse


def limit_pictures() -> None:
    """Pillow refuses twice its limit, wherever a picture is opened; a small file can be a huge picture."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS // 2
