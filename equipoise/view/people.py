"""The pages on which people say what they see, as routes for the local server.

    GET  /                      who are you?
    POST /                      joins, or asks whether it is the same person again
    GET  /at/KEY                the page on which a person answers
    GET  /at/KEY/turn           the question that comes next, as JSON; ?token=TOKEN one before it
    POST /at/KEY/turn           an answer; says what comes next
    GET  /picture/TOKEN         a picture

Nothing that the browser gets says what kind of picture it shows, of what class it is, or which image it was made of.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jinja2

from equipoise.audit import Run
from equipoise.audit.people import CANNOT_TELL, SURENESS, create
from equipoise.audit.run import read_record
from equipoise.errors import EquipoiseError, import_extra
from equipoise.report.offline import HERE as REPORT
from equipoise.view.answers import NAME, Asking
from equipoise.view.questions import PER_KIND, choose

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

__all__ = ["keys", "routes"]

HERE = Path(__file__).parent
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
LONGEST = 10_000
"""Bytes of what a browser may send."""

DIGITS, LETTERS = "0123456789", "abcdefghijklmnopqrstuvwxyz"


def routes(folder: Path, *, per_kind: int = PER_KIND, seed: int = 0) -> "list[BaseRoute]":
    """The routes of the human check, to be mounted where they belong.

    Arguments:
        folder: of the run.
        per_kind: how many pictures of each kind are asked about at most, once the first person joins.
        seed: of their choice and order.

    Raises:
        EquipoiseError: without starlette.
    """
    import_extra("starlette", extra="view", feature="The human check")
    from starlette.routing import Route  # noqa: PLC0415

    pages = _Pages(folder, per_kind, seed)
    return [
        Route("/", pages.door, methods=["GET"]),
        Route("/", pages.join, methods=["POST"]),
        Route("/people.css", pages.style),
        Route("/people.js", pages.script),
        Route("/at/{key}", pages.page),
        Route("/at/{key}/turn", pages.turn, methods=["GET"]),
        Route("/at/{key}/turn", pages.answer, methods=["POST"]),
        Route("/picture/{token}", pages.picture),
    ]


class _Pages:
    """What each route answers."""

    def __init__(self, folder: Path, per_kind: int, seed: int) -> None:
        self.folder, self.per_kind, self.seed = folder, per_kind, seed
        self.asking = Asking(folder / "people.sqlite")

    def door(self, request: "Request") -> "Response":
        return _html(request, stage="door")

    async def join(self, request: "Request") -> "Response":
        from starlette.concurrency import run_in_threadpool  # noqa: PLC0415

        form = parse_qs((await _body(request)).decode("utf-8", "replace"))
        return await run_in_threadpool(self._let_in, request, form)

    def _let_in(self, request: "Request", form: Mapping[str, list[str]]) -> "Response":
        from starlette.responses import RedirectResponse  # noqa: PLC0415

        name = form.get("name", [""])[0]
        try:
            self._prepare()
            before = self.asking.known(name)
            if before and before[1] and "same" not in form:
                return _html(request, stage="known", name=name, answered=before[1])
            key = self.asking.join(name)
        except EquipoiseError as error:
            return _html(request, 400, stage="door", name=name, error=str(error))
        address = f"{request.scope.get('root_path', '')}/at/{key}"
        return RedirectResponse(address, status_code=303, headers=HEADERS)

    def _prepare(self) -> None:
        """Chooses the questions, once."""
        run = Run(self.folder)
        if run.people() is None:
            rows = [
                (q.kind, q.image, q.label, q.target, q.made_by, q.accepted, q.picture)
                for q in choose(run, per_kind=self.per_kind, seed=self.seed)
            ]
            create(self.asking.path, run.record["data"]["classes"], self.seed, rows)

    def page(self, request: "Request") -> "Response":
        name = self.asking.path.is_file() and self.asking.person(request.path_params["key"])
        if not name:
            error = "Nobody answers at this address any longer. Join again, under the same name."
            return _html(request, 404, stage="door", error=error)
        classes = self.asking.classes()
        return _html(
            request,
            stage="asking",
            key=request.path_params["key"],
            name=name,
            classes=list(zip(classes, keys(classes), strict=True)),
            sureness=SURENESS,
            cannot_tell=CANNOT_TELL,
            side=min(read_record(self.folder)["data"]["shape"][1:]),
        )

    def turn(self, request: "Request") -> "Response":
        return self._told(request, request.query_params.get("token"))

    async def answer(self, request: "Request") -> "Response":
        from starlette.concurrency import run_in_threadpool  # noqa: PLC0415

        return await run_in_threadpool(self._keep, request, await _body(request))

    def _keep(self, request: "Request", body: bytes) -> "Response":
        try:
            token, seen, sureness, seconds = _answered(body)
            self.asking.answer(request.path_params["key"], token, seen, sureness, seconds)
        except EquipoiseError as error:
            return _json({"error": str(error)}, 400)
        return self._told(request, None)

    def _told(self, request: "Request", token: str | None) -> "Response":
        try:
            return _json(asdict(self.asking.turn(request.path_params["key"], token)))
        except EquipoiseError as error:
            return _json({"error": str(error)}, 404)

    def picture(self, request: "Request") -> "Response":
        from starlette.responses import Response  # noqa: PLC0415

        known = self.asking.path.is_file()
        found = self.asking.picture(request.path_params["token"]) if known else None
        if found is None:
            return Response(status_code=404, headers=HEADERS)
        return Response(found, media_type="image/png", headers=HEADERS)

    def style(self, request: "Request") -> "Response":
        from starlette.responses import Response  # noqa: PLC0415

        text = _read(REPORT / "page.css") + _read(HERE / "people.css")
        return Response(text, media_type="text/css", headers=HEADERS)

    def script(self, request: "Request") -> "Response":
        from starlette.responses import Response  # noqa: PLC0415

        return Response(_read(HERE / "people.js"), media_type="text/javascript", headers=HEADERS)


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


async def _body(request: "Request") -> bytes:
    """What was sent from one of our own pages.

    Raises:
        HTTPException: for what another site sent, or more than a form holds.
    """
    from starlette.exceptions import HTTPException  # noqa: PLC0415

    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "Sent from another site.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST:
            raise HTTPException(413, "Longer than any answer.")
    return body


def _answered(body: bytes) -> tuple[str, int, int | None, float]:
    """Token, class, sureness and seconds of an answer as the page sends it.

    Raises:
        EquipoiseError: for anything else.
    """
    try:
        sent = json.loads(body)
        token, seen, sureness, seconds = (
            sent[name] for name in ("token", "seen", "sureness", "seconds")
        )
    except (ValueError, KeyError, TypeError):
        raise EquipoiseError("Cannot read this answer. Load the page again.") from None
    whole = type(seen) is int and (sureness is None or type(sureness) is int)
    if not (isinstance(token, str) and whole and type(seconds) in (int, float)):
        raise EquipoiseError("Cannot read this answer. Load the page again.")
    return token, seen, sureness, float(seconds)


def _json(value: Any, status: int = 200) -> "Response":
    from starlette.responses import JSONResponse  # noqa: PLC0415

    return JSONResponse(value, status_code=status, headers=HEADERS)


def _html(request: "Request", status: int = 200, **values: Any) -> "Response":
    from starlette.responses import HTMLResponse  # noqa: PLC0415

    root = request.scope.get("root_path", "")
    given = {"name": "", "error": "", "longest": NAME} | values
    page = _template().render(root=root, **given)
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


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
