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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

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
        self.folder = Path(folder).expanduser()
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
        return relation.select(*[f'"{c}"' for c in relation.columns if c != "image"])

    @cached_property
    def _connection(self) -> Any:
        return connect()

    def columns(self, split: str = "test") -> dict[str, NDArray]:
        """The columns of a split as arrays, without pixels."""
        if not self.files(split):
            return {}
        return arrays(self.table(split))

    def rows(self, split: str, sources: Sequence[str] | None = None) -> Rows:
        """The rows of a split made of the originals with the ids `sources` (all for None), by original and target."""
        relation = read_shards(self._connection, self.files(split))
        if sources is not None:
            listed = ", ".join("'" + name.replace("'", "''") + "'" for name in sources) or "NULL"
            relation = relation.filter(f"source_id IN ({listed})")
        # Several files come in any order; numbers within an original and class are what orders the rest.
        relation = relation.order("source_id, target, number")
        names = [name for name in relation.columns if name != "image"]
        listed = ", ".join(f'"{name}"' for name in names)
        found = arrays(relation.project(f"image.bytes AS image, {listed}"))
        decode = Decoding(self.record["shape"][0])
        ids = found["id"]
        images = [
            decode(bytes(data), id) for data, id in zip(found.pop("image"), ids, strict=True)
        ]
        empty = torch.empty(0, *self.record["shape"])
        return Rows(torch.stack(images) if images else empty, found)

    @property
    def quality(self) -> list[dict[str, Any]] | None:
        """What `quality` found, if it was asked."""
        path = self.folder / "quality.json"
        return read_json(path)["findings"] if path.is_file() else None
