"""The application: the page with its live additions at /, as a file at /page, progress at /progress, and below /people/
the human check."""

import json
import shlex
from contextlib import nullcontext
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from equipoise.errors import EquipoiseError
from equipoise.remote import Here, Mirror
from equipoise.report.offline import fill
from equipoise.report.words import count, duration
from equipoise.view.fetching import Fetching, refuse
from equipoise.view.pages import Pages
from equipoise.view.people import routes
from equipoise.view.progress import Progress, Watch, roughly
from equipoise.view.questions import PER_KIND
from equipoise.view.security import Guard, respond

__all__ = ["application"]

HERE = Path(__file__).parent

ASK = '<p class="ask"><a href="/people/">Ask people what they see</a></p>\n'

SOON = 2.0
"""Seconds that a reader waits for the first page before being told that it is being made."""


def application(
    folder: Path,
    home: Here | Mirror | None = None,
    *,
    questions: int = PER_KIND,
    seed: int = 0,
) -> Starlette:
    """The server's application.

    Arguments:
        folder: of a run, of a study with its run in ``audit``, or of a run whose audit has not begun.
        home: the address whose mirror that folder is.
        questions: how many pictures of each kind the human check asks about at most.
        seed: of their choice and order.
    """
    named = nullcontext if home is None else home.named
    watch, pages = Watch(folder), Pages(named)
    remote = Fetching(home) if isinstance(home, Mirror) else None
    people = refuse(remote) if remote else routes(folder, per_kind=questions, seed=seed)

    def look() -> dict[str, Any]:
        trouble = remote.fetch() if remote else None
        try:
            with named():
                seen = watch.look()
        except EquipoiseError as error:
            return _say(Progress("waiting"), pages, str(error))
        except (ArithmeticError, LookupError, TypeError, ValueError):
            # Shards keep what they took as JSON, which may be anybody's.
            return _say(
                Progress("waiting"), pages, "A shard of the run is not what an audit writes."
            )
        if seen.state != "waiting":
            pages.refresh(watch.folder, seen.mark, complete=seen.state == "complete")
        return _say(seen, pages, trouble)

    async def live(request: Request) -> HTMLResponse:
        said = await run_in_threadpool(look)
        with anyio.move_on_after(SOON):
            await _made(pages)
        page = pages.newest
        said["shown"] = said["page"] = page.mark if page else None
        text = (
            page.text if page else await run_in_threadpool(_waiting, watch.folder, pages, remote)
        )
        return respond(_enliven(text, said, asks=not remote))

    async def file(request: Request) -> Response:
        await run_in_threadpool(look)
        await _made(pages)
        if pages.newest:
            return respond(pages.newest.text, live=False)
        return PlainTextResponse(pages.trouble or "There is no run yet.", 404)

    def progress(request: Request) -> Response:
        return Response(json.dumps(look()), media_type="application/json")

    return Starlette(
        routes=[
            Route("/", live),
            Route("/page", file),
            Route("/progress", progress),
            Mount("/people", routes=people),
        ],
        middleware=[Middleware(Guard)],
    )


async def _made(pages: Pages) -> None:
    """Waits for the first page while it is being made."""
    while pages.newest is None and pages.busy:
        await anyio.sleep(0.02)


def _say(seen: Progress, pages: Pages, trouble: str | None = None) -> dict[str, Any]:
    """What the page's script shows, in words."""
    left = {
        "running": "no estimate yet" if seen.left is None else roughly(seen.left),
        "stopped": f"no shard for {duration(seen.silent)}",
    }
    return {
        "state": seen.state,
        "done": seen.done,
        "total": seen.total,
        "count": f"{count(seen.done)} of {count(seen.total)} shards",
        "left": left.get(seen.state, ""),
        "command": seen.command,
        "parts": [[p.classifier, p.probe, p.done, p.total] for p in seen.parts],
        "trouble": trouble or pages.trouble,
        "page": pages.newest.mark if pages.newest else None,
        "mark": seen.mark,
    }


def _waiting(folder: Path, pages: Pages, remote: Fetching | None) -> str:
    """The page while there is none."""
    found = (folder / "run.json").is_file()
    where = str(remote.home if remote else folder)
    return fill(
        "waiting.html",
        {"charts": {}},
        folder=HERE,
        version=version("equipoise"),
        where=where,
        quoted=shlex.quote(where),
        making=found and pages.busy,
    )


def _enliven(page: str, said: dict[str, Any], *, asks: bool) -> str:
    """The page with the bar above its header and the script that keeps both up to date; the human check needs a run."""
    style, bar, script = (
        (HERE / name).read_text(encoding="utf-8") for name in ("live.css", "live.html", "live.js")
    )
    bar = bar.replace("PROGRESS", escape(json.dumps(said)))
    page = page.replace("</head>", f"<style>\n{style}</style>\n</head>", 1)
    page = page.replace('<header class="masthead">', f'{bar}<header class="masthead">', 1)
    if asks and said["page"]:
        page = page.replace("</header>", f"{ASK}</header>", 1)
    before, _, after = page.rpartition("</body>")
    return f"{before}<script>{script}</script>\n</body>{after}"
