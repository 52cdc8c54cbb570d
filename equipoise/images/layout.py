"""Published layouts on disk: where a benchmark begins, what is in its folders, and masks that are image files.

Names are relative to the root of the benchmark and have forward slashes. Hidden files are ignored.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from equipoise.errors import EquipoiseError
from equipoise.images.decode import BrokenImageError, Decoding
from equipoise.images.folder import SUFFIXES
from equipoise.specs import Spec

__all__ = ["find_root", "image_files", "read_mask", "subfolders"]


def find_root(spec: Spec, inner: str, begins: Callable[[Path], bool], layout: str) -> Path:
    """The folder in which a layout begins: `inner` in the target of `spec`, or that target.

    Arguments:
        spec: its target is that folder or its parent.
        inner: the published name of that folder.
        begins: whether a layout begins in a folder.
        layout: what is expected there, for error messages.

    Raises:
        EquipoiseError: when neither folder holds it.
    """
    path = spec.path
    if not spec.target or not path.is_dir():
        raise EquipoiseError(
            f"Cannot open {spec.text!r}: there is no folder {spec.target!r}. Write {spec.kind}:PATH with the "
            f"folder that holds {layout}, or with its parent."
        )
    for root in (path / inner, path):
        if root.is_dir() and begins(root):
            return root
    raise EquipoiseError(
        f"Cannot open {spec.text!r}: neither {path} nor {path / inner} holds {layout}. Write {spec.kind}:PATH with "
        "the folder that does, or with its parent."
    )


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in `folder`, sorted.

    Raises:
        EquipoiseError: when it cannot be listed.
    """
    return sorted(item.name for item in _visible(folder) if item.is_dir())


def image_files(folder: Path) -> list[str]:
    """The names of the image files in `folder`, sorted; the case of their extensions does not matter.

    Raises:
        EquipoiseError: when it cannot be listed.
    """
    names = (item.name for item in _visible(folder))
    return sorted(name for name in names if name.rpartition(".")[2].lower() in SUFFIXES)


def _visible(folder: Path) -> list[Path]:
    try:
        return [item for item in folder.iterdir() if not item.name.startswith(".")]
    except OSError as error:
        raise EquipoiseError(
            f"Cannot list {folder}: {error.strerror}. Make it a folder that can be read."
        ) from error


def read_mask(root: Path, name: str, decoding: Decoding, id: str) -> Tensor:
    """The mask in an image file, the mean of its channels.

    Arguments:
        root: of the benchmark.
        name: of the mask's file.
        decoding: into three channels, so that a JPEG whose greys are not quite grey is read too.
        id: of the image that it belongs to.

    Returns:
        float32 in [0, 1], with shape (1, H, W).

    Raises:
        BrokenImageError: for the image `id`, when its mask is missing or cannot be decoded.
    """
    try:
        pixels = decoding(root / name, name)
    except BrokenImageError as error:
        raise BrokenImageError(id, f"its mask {name!r}: {error.reason}") from error
    # In double precision, the mean of three equal values is that value.
    return pixels.double().mean(0, keepdim=True).float()
