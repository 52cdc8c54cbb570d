"""The quality of a denoiser on disk: ``quality.json`` and ``samples/nearest.png`` beside the denoiser.

The file also says what was asked (judge, images, settings), and by its identity the same question is answered from it.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from equipoise.audit import Estimate
from equipoise.classifiers import Classifier
from equipoise.diffusion import Denoiser
from equipoise.errors import EquipoiseError
from equipoise.files import read_json, write_atomically, write_json
from equipoise.images import Images
from equipoise.quality.denoiser import COUNT, measure_denoiser
from equipoise.quality.result import DenoiserQuality, Pair
from equipoise.quality.samples import STEPS
from equipoise.streams import digest

__all__ = ["PICTURE", "Kept", "assess", "read_quality"]

FORMAT = 1
PICTURE = "samples/nearest.png"
_SHARED = ("by_class", "pairs", "pairs_held_out", "picture")


@dataclass(frozen=True)
class Kept:
    """What is on disk: the identity of the question, what was asked in words and numbers, and the answer."""

    identity: str
    about: dict[str, Any]
    quality: DenoiserQuality


def assess(
    denoiser: Denoiser,
    judge: Classifier,
    train: Images,
    held_out: Images,
    folder: str | Path,
    *,
    count: int = COUNT,
    seed: int = 0,
    guidance: float = 1.0,
    steps: int = STEPS,
    device: str = "auto",
) -> Kept:
    """`measure_denoiser`, kept in `folder`: asking the same again reads it.

    Raises:
        EquipoiseError: as `measure_denoiser` does, or when the folder cannot be written.
    """
    folder = Path(folder).expanduser()
    asked = {"count": count, "seed": seed, "guidance": guidance, "steps": steps}
    identity = digest(
        FORMAT,
        denoiser.fingerprint(),
        judge.fingerprint(),
        train.fingerprint(range(len(train))),
        held_out.fingerprint(range(len(held_out))),
        sorted(asked.items()),
    )
    before = None
    if (folder / "quality.json").is_file() and (folder / PICTURE).is_file():
        before = read_quality(folder)
    if before is not None and before.identity == identity:
        return before
    found = measure_denoiser(
        denoiser,
        judge,
        train,
        held_out,
        count=count,
        seed=seed,
        guidance=guidance,
        steps=steps,
        device=device,
    )
    about = asked | {
        "denoiser": denoiser.name,
        "judge": judge.name,
        "train": f"{train.spec}, {train.split}",
        "train_images": len(train),
        "held_out": f"{held_out.spec}, {held_out.split}",
        "classes": list(denoiser.classes),
    }
    write_atomically(folder / PICTURE, lambda path: path.write_bytes(found.picture))
    rows = asdict(found)
    del rows["picture"]
    # Written last: with this file the answer is whole.
    content = {"format": FORMAT, "identity": identity, "about": about, "quality": _finite(rows)}
    write_json(folder / "quality.json", content)
    return Kept(identity, about, found)


def read_quality(folder: Path) -> Kept | None:
    """What `assess` kept in `folder`; None where there is none, or one of another version of equipoise.

    Raises:
        EquipoiseError: for files that are not what it writes.
    """
    path = folder / "quality.json"
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        if content["format"] != FORMAT:
            return None
        rows = content["quality"]
        found = DenoiserQuality(
            **{name: _estimate(row) for name, row in rows.items() if name not in _SHARED},
            by_class=tuple(_estimate(row) for row in rows["by_class"]),
            pairs=tuple(Pair(**row) for row in rows["pairs"]),
            pairs_held_out=tuple(Pair(**row) for row in rows["pairs_held_out"]),
            picture=(folder / PICTURE).read_bytes(),
        )
        return Kept(str(content["identity"]), dict(content["about"]), found)
    except (ArithmeticError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        if isinstance(error, EquipoiseError):
            raise
        raise EquipoiseError(
            f"Cannot read the quality of a denoiser {path}: {str(error)[:100]}. Delete it and measure again."
        ) from None


def _estimate(row: Any) -> Estimate:
    value, low, high = (
        math.nan if row[k] is None else float(row[k]) for k in ("value", "low", "high")
    )
    return Estimate(value, low, high, int(row["n"]), str(row["method"]))


def _finite(value: Any) -> Any:
    """The same with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
