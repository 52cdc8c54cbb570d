"""Assets: trained networks that are kept in a folder of one's own and found by name.

An asset is a folder with ``classifier.json`` or ``denoiser.json``, ``weights.safetensors``, a model card ``README.md``,
and ``asset.json``, which says what it is and the SHA-256 of the other files, so that a cut or a changed one is found.
Its name is its place below the folder of all, which the environment variable ``EQUIPOISE_ASSETS`` names, or ``assets``
where one is. Checksums find accidents; whoever changes a file on purpose can change them as well.
"""

import contextlib
import os
from pathlib import Path
from typing import Any, Literal

from equipoise.bounds import is_within, size_of
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.files import checksum, read_json

__all__ = ["FORMAT", "MANIFEST", "WEIGHTS", "Kind", "asset_names", "assets_folder", "find_asset"]

FORMAT = 1
MANIFEST = "asset.json"
WEIGHTS = "weights.safetensors"
DEEPEST = 4
MOST = 10_000
"""Folders that are looked into for names."""

Kind = Literal["classifier", "denoiser"]


def assets_folder() -> Path:
    """Where assets are looked for."""
    return Path(os.environ.get("EQUIPOISE_ASSETS") or "assets").expanduser()


def asset_names(kind: Kind | None = None) -> list[str]:
    """Names of the assets that there are, of one kind or of both, in order."""
    root = assets_folder()
    found, left = [], [(root, 0)]
    for _ in range(MOST):
        if not left:
            break
        folder, depth = left.pop()
        if (folder / MANIFEST).is_file():
            if kind is None or (folder / f"{kind}.json").is_file():
                found.append(folder.relative_to(root).as_posix())
        elif depth < DEEPEST and folder.is_dir():
            with contextlib.suppress(OSError):
                left += [(path, depth + 1) for path in folder.iterdir() if path.is_dir()]
    return sorted(found)


def find_asset(name: str, kind: Kind) -> Path:
    """The folder of an asset, once its files are known to be as they were written.

    Arguments:
        name: with forward slashes, such as ``cifar10-small/l2-0.5``.
        kind: what is asked for.

    Raises:
        EquipoiseError: for a name that there is not, an asset of the other kind, or files that have changed.
    """
    root = assets_folder()
    if not is_within(name):
        raise EquipoiseError(
            f"Cannot look for the asset {name!r}: a name is a path below the folder of assets, such as "
            "cifar10-small/l2-0.5."
        )
    folder = root / name
    if not (folder / MANIFEST).is_file():
        raise EquipoiseError(f"There is no asset {name!r} in {str(root)!r}. {_remedy(name, kind)}")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise EquipoiseError(
            f"Cannot read {folder / MANIFEST}: it is of another format than {FORMAT}. Upgrade equipoise."
        )
    if manifest.get("kind") != kind:
        raise EquipoiseError(
            f"The asset {name!r} is no {kind} but a {str(manifest.get('kind'))[:40]!r}. {_remedy(name, kind)}"
        )
    for file in (f"{kind}.json", WEIGHTS):
        _check(folder, file, manifest.get("sha256"))
    return folder


def _remedy(name: str, kind: Kind) -> str:
    names = asset_names(kind)
    if names:
        return did_you_mean(name, names)
    return (
        f"No {kind} is there. Name another folder by the environment variable EQUIPOISE_ASSETS, or make an asset with "
        "equipoise pack."
    )


def _check(folder: Path, file: str, sums: Any) -> None:
    """Refuses a file that is gone, lies elsewhere or has changed."""
    path = folder / file
    try:
        if path.resolve().parent != folder.resolve():
            raise EquipoiseError(f"Cannot read {path}: it is a link. Put the file itself there.")
        size_of(path)
        found = checksum(path)
    except OSError as error:
        raise EquipoiseError(f"Cannot read {path}: {error.strerror or error}.") from None
    if not isinstance(sums, dict) or sums.get(file) != found:
        raise EquipoiseError(
            f"Cannot use the asset {folder}: {file} is not as it was written. Get the asset again, or make it anew "
            "with equipoise pack."
        )
