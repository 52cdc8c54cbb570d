"""What keeps other websites out of a server on this computer.

Any page in the same browser can send requests to 127.0.0.1, and one whose name resolves to it (DNS rebinding) could
even read the answers. So a request has to name this server as its host, none may be part of another site's page, one
that writes has to come from a page of this server, and each answer forbids the browser to run, load or frame anything
from elsewhere.
"""

import base64
import hashlib
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "policy", "respond"]

NAMES = ("127.0.0.1", "localhost", "[::1]")

HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""On every answer that does not say otherwise."""

META = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">\n?')
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Guard:
    """Middleware: refuses what does not come from this server's own pages, and adds `HEADERS` to each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            # Closing a websocket before it is accepted is a 403.
            await send({"type": "websocket.close"})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = _refusal(scope)
        await (refusal or self.app)(scope, receive, guarded)


def policy(page: str) -> str:
    """The content security policy of a page: what its head states, with inline scripts by their digests, so that only
    those run that are in the page now, and with requests to this server allowed."""
    found = META.search(page)
    stated = found[1] if found else HEADERS["content-security-policy"]
    directives = dict(re.findall(r"([\w-]+) ([^;]+)", stated))
    sources = directives.get("script-src", "").replace("'unsafe-inline'", "").split()
    digests = [hashlib.sha256(text.encode()).digest() for text in SCRIPT.findall(page)]
    inline = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    directives["script-src"] = " ".join(["'self'", *sources, *inline])
    directives |= {"connect-src": "'self'", "frame-ancestors": "'none'"}
    return "; ".join(f"{name} {value}" for name, value in directives.items())


def respond(page: str, *, live: bool = True) -> HTMLResponse:
    """A page of ours as an answer.

    Arguments:
        page: HTML.
        live: whether it may ask this server for more; the policy in its head, which forbids it, then gives way to the
            one in the answer's headers. Otherwise the answer is the page to the byte.
    """
    text = META.sub("", page, count=1) if live else page
    headers = {"content-security-policy": policy(page)}
    # As in a file, what UTF-8 cannot say becomes a question mark.
    return HTMLResponse(text.encode("utf-8", "replace"), headers=headers)


def _refusal(scope: Scope) -> PlainTextResponse | None:
    """Why a request is refused; None when it is not."""
    headers, port = Headers(scope=scope), scope["server"][1]
    ours = {f"{name}:{port}" for name in NAMES} | ({*NAMES} if port == 80 else set())
    hosts = headers.getlist("host")
    if len(hosts) != 1 or hosts[0].lower() not in ours:
        return PlainTextResponse("This server answers as 127.0.0.1 and localhost only.", 421)
    # A link on another site may open a page of this one, which is a navigation; nothing else of its may ask.
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "navigate")
    if site not in ("same-origin", "none") and (mode, scope["method"]) != ("navigate", "GET"):
        return PlainTextResponse("Only pages of this server may ask it.", 403)
    if scope["method"] in ("GET", "HEAD"):
        return None
    if headers.getlist("origin") != [f"http://{hosts[0].lower()}"]:
        return PlainTextResponse("Only pages of this server may write to it.", 403)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return PlainTextResponse("Send JSON, as application/json.", 415)
    return None
