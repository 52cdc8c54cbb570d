"""A set of counterfactuals on disk.

    DIR/set.json                what was asked, every finished shard, and what had to be made again
    DIR/data/test-*.parquet     different-class counterfactuals, labelled with their target
    DIR/data/same-*.parquet     same-class counterfactuals: the control for whatever sampling itself does to an image
    DIR/data/noise-*.parquet    random noise, as far from the original as the counterfactual it stands beside: the
                                control for distance alone, labelled with the class of the original
    DIR/quality.json            what `quality` found
    DIR/README.md               a card, with which the folder is a data set of the Hugging Face hub

The three are splits of an image set: ``parquet:DIR`` opens them. Pixels are 8-bit, and distances are those of the
stored pixels from the original's, in units of images in [0, 1].
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.bounds import is_within, parse_path
from equipoise.errors import EquipoiseError
from equipoise.files import NotJSONError, read_json
from equipoise.images import Decoding
from equipoise.images.resuming import verify_set
from equipoise.store import arrays, connect, read_shards

__all__ = ["FORMAT", "SPLITS", "CounterfactualSet", "Rows"]

FORMAT = 2
SPLITS = ("test", "same", "noise")
_EVERY = {"status", "identity", "data", "classes", "shape", "settings", "made_by", "shards"}


@dataclass(frozen=True)
class Rows:
    """Some rows of a set: images in [0, 1] with shape (B, C, H, W), and the table's other columns as arrays."""

    images: Tensor
    columns: dict[str, NDArray]

    def __len__(self) -> int:
        return len(self.images)


class CounterfactualSet:
    """A set that `make_set` wrote, finished or not.

    Arguments:
        folder: with set.json in it.

    Raises:
        EquipoiseError: when there is none, one of another format, or half of one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = parse_path(str(folder), str(folder))
        path = self.folder / "set.json"
        if not path.is_file():
            raise EquipoiseError(
                f"Cannot open the counterfactuals {str(folder)!r}: there is no set.json in it. Make them with "
                "equipoise counterfactuals."
            )
        try:
            self.record: dict[str, Any] = read_json(path)
        except NotJSONError as error:
            raise EquipoiseError(
                f"{error} Repeat the command that made the counterfactuals: it is written again, and sound files are "
                "kept."
            ) from None
        found = self.record.get("format") if isinstance(self.record, dict) else None
        if found != FORMAT:
            raise EquipoiseError(
                f"Cannot open the counterfactuals {str(folder)!r}: their format is {found!r}, this version of "
                f"equipoise reads {FORMAT}."
            )
        lacking = _EVERY - self.record.keys()
        if lacking:
            raise EquipoiseError(
                f"Cannot open the counterfactuals {str(folder)!r}: their set.json lacks {', '.join(sorted(lacking))}. "
                "Make them again."
            )
        shape, shards = self.record["shape"], self.record["shards"]
        if (
            not isinstance(shards, dict)
            or not all(map(_is_shard, shards.values()))
            or not (isinstance(shape, list) and len(shape) == 3)
            or not all(type(side) is int and 0 < side < 2**20 for side in shape)
            or shape[0] not in (1, 3)
            or not isinstance(self.record["classes"], list)
            or not all(isinstance(name, str) for name in self.record["classes"])
            or not all(isinstance(self.record[name], str) for name in ("status", "identity"))
            or not all(
                isinstance(self.record[name], dict) for name in ("data", "settings", "made_by")
            )
        ):
            raise EquipoiseError(
                f"Cannot open the counterfactuals {str(folder)!r}: their set.json is not what equipoise "
                "counterfactuals writes. Make them again."
            )

    def __repr__(self) -> str:
        return f"CounterfactualSet({str(self.folder)!r}, {self.record['status']})"

    @property
    def identity(self) -> str:
        """A digest of everything that determines the set's content."""
        return self.record["identity"]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.record["classes"])

    def files(self, split: str) -> list[Path]:
        """The finished shards of a split.

        Raises:
            EquipoiseError: when one of them is gone.
        """
        files = [self.folder / shard[split]["file"] for shard in self.record["shards"].values()]
        for file in files:
            if not file.is_file():
                raise EquipoiseError(
                    f"Cannot read the counterfactuals {str(self.folder)!r}: {file.name} is gone. Repeat the command "
                    "that made them."
                )
        return files

    def verify(self) -> dict[str, str]:
        """Files that are not as they were written, and what is wrong with each, such as "its content has changed"; none
        when all is well."""
        return verify_set(self.folder, self.record)

    def table(self, split: str = "test") -> Any:
        """The rows of a split as a DuckDB relation, without their pixels; `.df()` makes it a pandas frame."""
        relation = read_shards(self._connection, self.files(split))
        return relation.select(*[_quoted(c) for c in relation.columns if c != "image"])

    @cached_property
    def _connection(self) -> Any:
        return connect()

    def columns(self, split: str = "test") -> dict[str, NDArray]:
        """The columns of a split as arrays, without pixels."""
        if not self.files(split):
            return {}
        with self._reading():
            return arrays(self.table(split))

    def rows(self, split: str, sources: Sequence[str] | None = None) -> Rows:
        """The rows of a split made of the originals with the ids `sources` (all for None), by original and target."""
        with self._reading():
            return self._rows(split, sources)

    def _rows(self, split: str, sources: Sequence[str] | None) -> Rows:
        relation = read_shards(self._connection, self.files(split))
        if sources is not None:
            listed = ", ".join("'" + name.replace("'", "''") + "'" for name in sources) or "NULL"
            relation = relation.filter(f"source_id IN ({listed})")
        # Several files come in any order; numbers within an original and class are what orders the rest.
        relation = relation.order("source_id, target, number")
        names = [name for name in relation.columns if name != "image"]
        listed = ", ".join(map(_quoted, names))
        found = arrays(relation.project(f"image.bytes AS image, {listed}"))
        decode = Decoding(self.record["shape"][0])
        ids = found["id"]
        images = [
            decode(bytes(data), id) for data, id in zip(found.pop("image"), ids, strict=True)
        ]
        shape = tuple(self.record["shape"])
        if any(image.shape != shape for image in images):
            raise ValueError(f"an image is not of the shape {shape}")
        return Rows(torch.stack(images) if images else torch.empty(0, *shape), found)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Refuses shards that are not what `make_set` writes."""
        import duckdb  # noqa: PLC0415  as the store does

        try:
            yield
        except EquipoiseError:
            raise
        except (duckdb.Error, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise EquipoiseError(
                f"Cannot read the counterfactuals {str(self.folder)!r}: {' '.join(str(error).split())[:200]}. Repeat "
                "the command that made them."
            ) from error

    @property
    def quality(self) -> list[dict[str, Any]] | None:
        """What `quality` found, if it was asked."""
        path = self.folder / "quality.json"
        if not path.is_file():
            return None
        found = read_json(path)
        findings = found.get("findings") if isinstance(found, dict) else None
        if not isinstance(findings, list) or not all(map(_is_finding, findings)):
            raise EquipoiseError(
                f"Cannot read the quality {path}: it holds no findings. Delete it to have it measured again."
            )
        return findings


def _is_finding(found: Any) -> bool:
    named = isinstance(found, dict) and {"name", "split", "value"} <= found.keys()
    return named and isinstance(found["value"], int | float | None)


def _is_shard(shard: Any) -> bool:
    """Whether a shard names a file of each split, none of them outside the set's folder."""
    files = [shard.get(split) for split in SPLITS] if isinstance(shard, dict) else [None]
    return all(
        isinstance(file, dict)
        and is_within(file.get("file"))
        and not set(file["file"]) & set("*?[")
        for file in files
    )


def _quoted(name: str) -> str:
    """SQL of a column, whose name may hold anything."""
    return '"' + name.replace('"', '""') + '"'
