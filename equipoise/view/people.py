"""The pages on which people say what they see, as routes for the local server.

    GET  /                      who are you?
    POST /                      joins, or says that somebody of that name has answered before
    GET  /at/KEY                the page on which a person answers
    GET  /at/KEY/turn           the question that comes next; with ?token=TOKEN one before it
    POST /at/KEY/turn           an answer; says what comes next
    GET  /picture/TOKEN         a picture

Nothing that the browser gets says what kind of picture it shows, of what class it is, or which image it was made of.
What is sent to the server is JSON, which pages of other sites cannot send.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from equipoise.audit import Run
from equipoise.audit.people import CANNOT_TELL, SURENESS, create
from equipoise.audit.run import find_run, read_record
from equipoise.bounds import parse_json
from equipoise.errors import EquipoiseError
from equipoise.report.offline import HERE as REPORT
from equipoise.view.answers import NAME, Asking
from equipoise.view.questions import PER_KIND, choose

__all__ = ["keys", "routes"]

HERE = Path(__file__).parent
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LONGEST = 10_000
"""Bytes of what a browser may send."""

DIGITS, LETTERS = "0123456789", "abcdefghijklmnopqrstuvwxyz"


def routes(folder: Path, *, per_kind: int = PER_KIND, seed: int = 0) -> list[BaseRoute]:
    """The routes of the human check, to be mounted under any path: ``Mount("/people", routes=routes(folder))``.

    Arguments:
        folder: of the run, or of a study with its run in ``audit``. There need be none before the first person joins.
        per_kind: how many pictures of each kind are asked about at most.
        seed: of their choice and order.
    """
    pages = _Pages(folder, per_kind, seed)
    return [
        Route("/", pages.door, methods=["GET"]),
        Route("/", pages.join, methods=["POST"]),
        Route("/at/{key}", pages.page),
        Route("/at/{key}/turn", pages.turn, methods=["GET"]),
        Route("/at/{key}/turn", pages.answer, methods=["POST"]),
        Route("/picture/{token}", pages.picture),
        *(Route(f"/{name}", pages.file, name=name) for name in FILES),
    ]


FILES = {
    "people.css": ("text/css", (REPORT / "page.css", HERE / "people.css")),
    "door.js": ("text/javascript", (HERE / "door.js",)),
    "people.js": ("text/javascript", (HERE / "people.js",)),
}
"""What the pages load: the type of each, and of which files it is made."""


class _Pages:
    """What each route answers."""

    def __init__(self, folder: Path, per_kind: int, seed: int) -> None:
        self.given, self.per_kind, self.seed = folder, per_kind, seed

    @property
    def folder(self) -> Path:
        """Where the run is, as far as there is one."""
        return find_run(self.given)

    @property
    def asking(self) -> Asking | None:
        """The questions; None before the first person joins."""
        path = self.folder / "people.sqlite"
        return Asking(path) if path.is_file() else None

    def door(self, request: Request) -> Response:
        return _html(request)

    async def join(self, request: Request) -> Response:
        sent = await _sent(request, name=str, same=bool)
        root = request.scope.get("root_path", "")
        return await run_in_threadpool(_json, lambda: self._let_in(root, **sent))

    def _let_in(self, root: str, name: str, same: bool) -> dict[str, Any]:
        asking = self._prepared()
        before = asking.known(name)
        if before and before[1] and not same:
            return {"answered": before[1]}
        return {"at": f"{root}/at/{asking.join(name)}"}

    def _prepared(self) -> Asking:
        """The questions, chosen where they were not."""
        run = Run(self.folder)
        path = run.folder / "people.sqlite"
        if run.people() is None:
            rows = [
                (q.kind, q.image, q.label, q.target, q.made_by, q.accepted, q.picture)
                for q in choose(run, per_kind=self.per_kind, seed=self.seed)
            ]
            create(path, run.record["data"]["classes"], self.seed, rows)
        return Asking(path)

    def page(self, request: Request) -> Response:
        key, asking = request.path_params["key"], self.asking
        name = asking.person(key) if asking else None
        if asking is None or name is None:
            error = "Nobody answers at this address. Join again, under the same name."
            return _html(request, 404, error=error)
        classes = asking.classes()
        return _html(
            request,
            name=name,
            key=key,
            classes=list(zip(classes, keys(classes), strict=True)),
            sureness=SURENESS,
            cannot_tell=CANNOT_TELL,
            side=min(read_record(self.folder)["data"]["shape"][1:]),
        )

    def turn(self, request: Request) -> Response:
        key, token = request.path_params["key"], request.query_params.get("token")
        return _json(lambda: self._next(key, token))

    async def answer(self, request: Request) -> Response:
        sent = await _sent(request, token=str, seen=int, sureness=int | None, seconds=int | float)
        key = request.path_params["key"]
        return await run_in_threadpool(_json, lambda: self._keep(key, sent))

    def _keep(self, key: str, sent: dict[str, Any]) -> dict[str, Any]:
        if asking := self.asking:
            asking.answer(key, **sent)
        return self._next(key, None)

    def _next(self, key: str, token: str | None) -> dict[str, Any]:
        if asking := self.asking:
            return asdict(asking.turn(key, token))
        raise EquipoiseError("Nobody has been asked about this run. Join first.")

    def picture(self, request: Request) -> Response:
        asking = self.asking
        found = asking and asking.picture(request.path_params["token"])
        if found is None:
            return Response(status_code=404, headers=HEADERS)
        return Response(found, media_type="image/png", headers=HEADERS)

    def file(self, request: Request) -> Response:
        kind, parts = FILES[request.scope["path"].rpartition("/")[2]]
        text = "".join(part.read_text(encoding="utf-8") for part in parts)
        return Response(text, media_type=kind, headers=HEADERS)


def keys(classes: Sequence[str]) -> list[str]:
    """The key that stands for each class: its name where every name is one letter or digit, otherwise digits from 1,
    then letters; none with more classes than keys."""
    names = [name.lower() for name in classes]
    if all(name in DIGITS + LETTERS and len(name) == 1 for name in names) and len(
        set(names)
    ) == len(names):
        return names
    known = DIGITS[1:] + DIGITS[0] + LETTERS
    return list(known[: len(names)]) if len(names) <= len(known) else [""] * len(names)


async def _sent(request: Request, **kinds: Any) -> dict[str, Any]:
    """The JSON object that was sent: these names, each of its kind.

    Raises:
        HTTPException: for anything else.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "Send JSON, as application/json.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST:
            raise HTTPException(413, "Longer than any answer.")
    try:
        sent = parse_json(body)
        # Half of a surrogate pair is no text, and no database takes it.
        json.dumps(sent, ensure_ascii=False).encode()
    except ValueError:
        sent = None
    if not (isinstance(sent, dict) and sent.keys() == kinds.keys()):
        raise HTTPException(400, f"Send {', '.join(kinds)}.")
    for name, kind in kinds.items():
        # True is an int to Python, and no answer.
        if not isinstance(sent[name], kind) or (kind is not bool and isinstance(sent[name], bool)):
            raise HTTPException(400, f"Send {', '.join(kinds)}.")
    return sent


def _json(make: Callable[[], dict[str, Any]]) -> Response:
    """What is made, or why it could not be."""
    try:
        return JSONResponse(make(), headers=HEADERS)
    except EquipoiseError as error:
        return JSONResponse({"error": str(error)}, 400, headers=HEADERS)


def _html(request: Request, status: int = 200, **values: Any) -> Response:
    given = {"key": "", "error": "", "longest": NAME} | values
    page = _template().render(root=request.scope.get("root_path", ""), **given)
    return HTMLResponse(page.encode("utf-8", "replace"), status, headers=HEADERS)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("people.html")
