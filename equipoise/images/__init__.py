"""Images: what is looked at. One file a source; `load_images` opens any of them by its spec."""

from equipoise.bounds import parse_path
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.images.arrays import Arrays
from equipoise.images.decode import BrokenImageError, Decoding
from equipoise.images.digits import Digits
from equipoise.images.digits_on_photos import DigitsOnPhotos
from equipoise.images.encode import eight_bit, encode_png
from equipoise.images.folder import Folder
from equipoise.images.hugging_face import hugging_face_metadata
from equipoise.images.imagenet9 import ImageNet9
from equipoise.images.joined import Joined
from equipoise.images.objectnet import ObjectNet
from equipoise.images.parquet import Parquet
from equipoise.images.rival10 import Rival10
from equipoise.images.salient_imagenet import SalientImageNet
from equipoise.images.source import Batch, Broken, Example, Images, Subset
from equipoise.images.waterbirds import Waterbirds
from equipoise.specs import parse_spec

__all__ = [
    "load_images",
    "Images",
    "Subset",
    "Joined",
    "Example",
    "Batch",
    "Broken",
    "BrokenImageError",
    "Decoding",
    "Digits",
    "DigitsOnPhotos",
    "Folder",
    "Parquet",
    "Arrays",
    "ImageNet9",
    "Rival10",
    "SalientImageNet",
    "eight_bit",
    "encode_png",
    "hugging_face_metadata",
]

_SOURCES = {
    "digits": Digits,
    "digits-on-photos": DigitsOnPhotos,
    "folder": Folder,
    "parquet": Parquet,
    "rival10": Rival10,
    "salient-imagenet": SalientImageNet,
    "imagenet9": ImageNet9,
    "waterbirds": Waterbirds,
    "objectnet": ObjectNet,
}


def load_images(spec: str, split: str = "test") -> Images:
    """Opens a set of images; none is decoded yet.

    Arguments:
        spec: ``digits``; ``digits-on-photos``; ``folder:PATH`` or ``parquet:PATH``, the last two with
            the options ``?size=32`` (resize and crop to a square) and ``&channels=3`` (1 or 3; found
            from the files when not given). ``folder:`` also has ``&classes=``, for ImageNet's synsets
            grouped into nine classes: ``restricted-imagenet`` (all 118 of dogs) or
            ``restricted-imagenet-11-dogs`` (the 11 in the list of arXiv 1805.12152's authors).
            ``digits-on-photos`` has ``?correlation=0.95`` (the probability that the background agrees
            with the label), ``&variant=original`` (or ``only-fg``, ``only-bg``, ``mixed-same``,
            ``mixed-rand``, several with commas between, or ``all``) and ``&seed=0``.
            Benchmarks as they are published: ``rival10:PATH``, ``imagenet9:PATH?variant=``,
            ``salient-imagenet:PATH?images=``, ``waterbirds:PATH`` (``?masks=FOLDER``) and
            ``objectnet:PATH`` (``?source=FOLDER``), see their modules.
        split: such as "train" or "test".

    Raises:
        EquipoiseError: for an unknown kind, path, split or option, an empty set, or a wrong table.
    """
    parsed = parse_spec(spec)
    source = _SOURCES.get(parsed.kind)
    if source is None:
        path = parse_path(spec.partition("?")[0], spec)
        known = f"{'folder' if path.is_dir() else 'parquet'}:{spec}"
        hint = f"Did you mean {known!r}?" if path.exists() else did_you_mean(parsed.kind, _SOURCES)
        raise EquipoiseError(
            f"Cannot open the images {spec!r}: {parsed.kind!r} is no kind of source. {hint}"
        )
    return source.open(parsed, split)
