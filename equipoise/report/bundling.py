"""A page as a folder: pictures as files at the size that the run stored them, for runs too large for one file.

    index.html          the page
    data/gallery.js     the numbers of the gallery
    pictures/000/...    PNGs, a thousand to a folder, named by their content
    bundle.json         says that the folder may be replaced by another bundle

It opens from a disk as from any host of static files: pictures have relative addresses and data come as a script,
since a page on a disk may not fetch.
"""

import contextlib
import hashlib
import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from equipoise.audit import Run
from equipoise.errors import EquipoiseError
from equipoise.files import read_json
from equipoise.report.exhibit import Exhibit
from equipoise.report.gallery import Hung, apart, hang
from equipoise.report.page import render
from equipoise.report.pictures import longest_side
from equipoise.report.reading import Reading

__all__ = ["bundle"]

MARK = "bundle.json"
FORMAT = "equipoise bundle"
SHARD = 1000
"""Pictures in a folder."""


def bundle(run: Run | str | Path, folder: str | Path) -> Path:
    """Writes the page of a run as a folder, whose `index.html` opens anywhere, without a network.

    The folder is written under a temporary name and renamed once it is whole; an earlier bundle there is replaced.

    Arguments:
        run: a run or its folder.
        folder: where to.

    Returns:
        the page in it.

    Raises:
        EquipoiseError: when there is no run in the folder, when the new folder exists and is not a bundle, or when it
            cannot be written.
    """
    run = run if isinstance(run, Run) else Run(run)
    # A link stays, and the folder it leads to is replaced.
    folder = Path(folder).expanduser().resolve()
    _refuse_strangers(folder)
    name = f".{folder.name}.{secrets.token_hex(4)}"
    fresh, old = folder.with_name(f"{name}.tmp"), folder.with_name(f"{name}.old")
    try:
        fresh.mkdir(parents=True)
        _fill(fresh, Reading(run))
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except OSError as error:
        raise EquipoiseError(
            f"Cannot write the bundle {folder}: {error.strerror or error}. Free some space or choose another folder."
        ) from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left in (fresh, old):
            with contextlib.suppress(OSError):
                shutil.rmtree(left)
    return folder / "index.html"


def _refuse_strangers(folder: Path) -> None:
    """Stops before anything but an earlier bundle would be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise EquipoiseError(f"Cannot write a bundle to {folder}: it is a file. Name a folder.")
    known = (folder / MARK).is_file() and read_json(folder / MARK)
    if any(folder.iterdir()) and not (isinstance(known, dict) and known.get("format") == FORMAT):
        raise EquipoiseError(
            f"Cannot write a bundle to {folder}: the folder holds something else. Name a new one, an empty one or an "
            "earlier bundle."
        )


def _fill(folder: Path, reading: Reading) -> None:
    """Writes everything that is in the folder."""

    def place(exhibits: Sequence[Exhibit], _: int) -> Hung:
        addresses = {p: _address(k, p) for k, p in enumerate(apart(exhibits))}
        for picture, address in addresses.items():
            file = folder / address
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture)
        side = max((longest_side(picture) for picture in list(addresses)[:1]), default=0)
        return Hung(exhibits, list(addresses), lambda: list(addresses.values()), "", side)

    gallery = hang(reading, place)
    if gallery.rows:
        gallery = replace(gallery, source="data/gallery.js")
        text = (
            f"document.getElementById('gallery-data').textContent = {json.dumps(gallery.data)};\n"
        )
        (folder / "data").mkdir()
        (folder / gallery.source).write_text(text, encoding="ascii")
    page = render(reading, gallery)
    (folder / "index.html").write_bytes(page.encode("utf-8", "replace"))
    mark = {"format": FORMAT, "equipoise": reading.record["versions"]["equipoise"]}
    (folder / MARK).write_text(json.dumps(mark) + "\n", encoding="ascii")


def _address(number: int, picture: bytes) -> str:
    name = hashlib.sha256(picture).hexdigest()[:16]
    return f"pictures/{number // SHARD:03d}/{name}.png"
