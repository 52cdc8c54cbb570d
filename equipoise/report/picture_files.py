"""The pictures that a run kept, as files that other tools open: a folder for each class, and a table of all.

    FOLDER/CLASS/00012-ID.png         the image, and the images that attacks left of it
    FOLDER/metadata.csv               file_name, label, group, id, shows, classifier, prediction

`label` is the name of the image's class; `shows` is ``original`` or the probe's spec, and `prediction` what the
classifier answers to the picture, where the probe kept that. ``folder:FOLDER``, Hugging Face's ``imagefolder`` and
readers of class folders open it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.audit import Run
from equipoise.errors import EquipoiseError
from equipoise.files import write_atomically
from equipoise.probes import Adversarial, LargeEps
from equipoise.report.export import file_names, write_relation
from equipoise.report.reading import Reading
from equipoise.report.tables import relation_of
from equipoise.store import fetch_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["write_pictures"]

ATTACKS = {Adversarial: "adversarial_prediction", LargeEps: "prediction"}
"""Probes whose pictures are images, and their columns of what the classifier answers to them."""

COLUMNS = ("file_name", "label", "group", "id", "shows", "classifier", "prediction")


def write_pictures(run: Run, folder: str | Path, *, exact: bool = False) -> int:
    """Writes the pictures of a run.

    Arguments:
        run: of which.
        folder: a new or an empty one.
        exact: whether the table keeps texts that a spreadsheet would run.

    Returns:
        how many.

    Raises:
        EquipoiseError: for a folder that holds something, a run without pictures, or when a file cannot be written.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise EquipoiseError(
            f"Cannot write pictures into {folder}: something is there. Choose a new or an empty folder."
        )
    reading = Reading(run)
    classes = file_names(dict.fromkeys(reading.classes))
    rows = []
    for name, label, group, shows, classifier, answer, picture in _pictures(reading):
        called = reading.class_name(label)
        readable = file_names({name: None})[name]
        file = f"{classes.get(called, '_')}/{len(rows):05d}-{readable}.png"
        write_atomically(
            folder / file, lambda temporary, picture=picture: temporary.write_bytes(picture)
        )
        said = None if answer is None else reading.class_name(answer, classifier)
        rows.append((file, called, group, name, shows, classifier, said))
    if not rows:
        raise EquipoiseError(
            f"Cannot write pictures of {run.where}: it kept none. Audit with --pictures above 0."
        )
    table = relation_of(dict.fromkeys(COLUMNS, "VARCHAR"), rows)
    write_relation(table, folder / "metadata.csv", exact=exact)
    return len(rows)


def _pictures(
    reading: Reading,
) -> "Iterator[tuple[str, int, str | None, str, str | None, int | None, bytes]]":
    """Id, label, group, what it shows, of which classifier, its answer, and the PNG, of each."""
    run = reading.run
    if run.shards("images"):
        kept = run.images().filter("picture IS NOT NULL").select("id", "label", "group", "picture")
        for name, label, group, picture in fetch_rows(kept):
            yield name, label, group, "original", None, None, picture
    for kind, column in ATTACKS.items():
        for spec in reading.specs(kind):
            if run.shards(spec):
                about = ("id", "label", "group", "classifier", column, "picture")
                for name, label, group, classifier, answer, picture in fetch_rows(
                    run.pictures(spec).select(*about)
                ):
                    yield name, label, group, spec, classifier, answer, picture
