"""An asset of a trained network: weights in half precision where that changes nothing, descriptions, and a card.

Weights are rounded to float16, written, and read back into single precision, as `asset:` reads them; what was read back
is compared with the original. Where a verdict of a classifier or the answers of a denoiser differ
(`equipoise.packing.verdicts`, `equipoise.packing.outputs`), or a weight is too large for float16, the asset keeps
float32.
"""

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from equipoise.assets import FORMAT, MANIFEST, WEIGHTS
from equipoise.audit import Run
from equipoise.classifiers import Classifier, save_classifier
from equipoise.classifiers.folder import load_folder as read_classifier
from equipoise.devices import choose_device
from equipoise.diffusion import Denoiser, Preconditioned, save_denoiser
from equipoise.diffusion.folder import load_folder as read_denoiser
from equipoise.errors import EquipoiseError
from equipoise.files import checksum, write_atomically, write_json
from equipoise.images import Images
from equipoise.packing.card import Card, last_part, write_card
from equipoise.packing.outputs import Outputs, compare_outputs
from equipoise.packing.packed import Packed
from equipoise.packing.verdicts import Verdicts, compare_verdicts, name_in
from equipoise.quality import Kept

__all__ = ["pack_classifier", "pack_denoiser"]

ATTACK = "adversarial:l2:0.5"
"""Where neither a run nor the training says against what."""

Model = TypeVar("Model", Classifier, Preconditioned)
Compared = Verdicts | Outputs


def pack_classifier(
    classifier: Classifier,
    images: Images,
    folder: str | Path,
    *,
    run: Run | None = None,
    attacks: Sequence[str] = (),
    count: int = 64,
    licence: str | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Packed:
    """Writes the asset of a classifier of our own networks.

    Arguments:
        classifier: as it was trained.
        images: all are classified before and after, best those of the run.
        folder: of the asset; one that is there is replaced.
        run: that measured the classifier, for the card, the attacks and the seed.
        attacks: to repeat; those of the run, or the training's, when empty.
        count: images that are attacked.
        licence: of the weights, as the Hugging Face Hub calls it.
        seed: of the sample.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        EquipoiseError: for another network, a run that did not judge it, a folder that holds something else.
    """
    folder = _vacant(folder)
    where = choose_device(device)
    asked = list(attacks) or _attacks(classifier, run)

    def compare(rounded: Classifier) -> Verdicts:
        both = (classifier.to(where), rounded.to(where))
        return compare_verdicts(
            *both, images, asked, count=count, seed=seed, run=run, device=where
        )

    chosen = _choose(classifier, save_classifier, read_classifier, compare)
    save_classifier(chosen.model, folder)
    return _finish(folder, "classifier", classifier, chosen, images, run=run, licence=licence)


def pack_denoiser(
    denoiser: Denoiser,
    images: Images,
    folder: str | Path,
    *,
    judge: Classifier | None = None,
    quality: Kept | None = None,
    licence: str | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Packed:
    """Writes the asset of a denoiser.

    Arguments:
        denoiser: as it was trained.
        images: of which a sample is denoised before and after.
        folder: of the asset; one that is there is replaced.
        judge: reads samples of both.
        quality: of the denoiser, for the card.
        licence: of the weights, as the Hugging Face Hub calls it.
        seed: of the sample.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        EquipoiseError: for one of another kind than training writes, or a folder that holds something else.
    """
    folder = _vacant(folder)
    if not isinstance(denoiser, Preconditioned):
        raise EquipoiseError(
            f"Cannot make an asset of the denoiser {denoiser.name!r}: only what equipoise denoise trained can be."
        )
    where = choose_device(device)
    if judge is not None:
        judge.to(where)

    def compare(rounded: Preconditioned) -> Outputs:
        return compare_outputs(denoiser.to(where), rounded.to(where), images, judge, seed=seed)

    chosen = _choose(denoiser, save_denoiser, read_denoiser, compare)
    save_denoiser(chosen.model, folder)
    return _finish(folder, "denoiser", denoiser, chosen, images, quality=quality, licence=licence)


@dataclass(frozen=True)
class _Chosen:
    """The network as it is to be written, why not in half precision, and what was compared."""

    model: Any
    reason: str
    compared: Compared


def _choose(
    model: Model,
    save: Callable[[Model, Path], None],
    read: Callable[[Path, str], Model],
    compare: Callable[[Model], Compared],
) -> _Chosen:
    whole = copy.deepcopy(model).cpu()
    whole.facts = _without_folders(model.facts)
    half = copy.deepcopy(whole)
    half.net.half()
    fits = all(bool(t.isfinite().all()) for t in half.net.state_dict().values())
    with tempfile.TemporaryDirectory() as place:
        save(half if fits else whole, Path(place))
        compared = compare(read(Path(place), model.name))
    reason = "" if compared.same else "rounding to it changes what the network says"
    reason = reason if fits else "a weight is too large for it"
    return _Chosen(whole if reason else half, reason, compared)


def _finish(
    folder: Path,
    kind: str,
    original: Classifier | Preconditioned,
    chosen: _Chosen,
    images: Images,
    *,
    run: Run | None = None,
    quality: Kept | None = None,
    licence: str | None = None,
) -> Packed:
    """Writes the card, and asset.json last: a folder with it is complete."""
    sums = {name: checksum(folder / name) for name in (f"{kind}.json", WEIGHTS)}
    precision = "float32" if chosen.reason else "float16"
    packed = Packed(
        folder, precision, chosen.reason, (folder / WEIGHTS).stat().st_size, chosen.compared
    )
    name = original.name
    if run is not None and isinstance(original, Classifier):
        name = name_in(run, original)
    text = write_card(
        Card(
            chosen.model, original.fingerprint(), packed, images, sums, run, name, quality, licence
        )
    )
    write_atomically(folder / "README.md", lambda path: path.write_text(text, encoding="utf-8"))
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "sha256": sums,
        "precision": precision,
        "made_from": original.fingerprint(),
        "run": None if run is None else {"created": run.record["created"]},
        "version": version("equipoise"),
    }
    write_json(folder / MANIFEST, manifest)
    return packed


def _vacant(folder: str | Path) -> Path:
    """The folder, once it is known to hold nothing but an asset."""
    folder = Path(folder).expanduser()
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).is_file())
    ):
        raise EquipoiseError(
            f"Cannot write an asset to {folder}: something else is there. Choose another folder, or delete it."
        )
    return folder


def _attacks(classifier: Classifier, run: Run | None) -> list[str]:
    """Those of the run, or else the threat of the training."""
    if run is not None:
        return [spec for spec in run.probes if spec.partition(":")[0] == "adversarial"]
    norm, radius = classifier.facts.get("norm"), classifier.facts.get("radius")
    return [f"adversarial:{norm}:{radius:g}" if norm and radius else ATTACK]


def _without_folders(facts: dict[str, Any]) -> dict[str, Any]:
    """What is known of the training, of the images' path the last part alone."""
    return {k: last_part(v) if k == "data" else v for k, v in facts.items()}
