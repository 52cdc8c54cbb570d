"""The model card of an asset: what it is, what it was trained on, what was measured, and what rounding changed.

Names come from runs and folders and may hold anything: they are text in Markdown (`equipoise.comparing.markdown`) and
quoted in the head.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from equipoise.audit import Run
from equipoise.classifiers import Classifier
from equipoise.comparing.markdown import inert
from equipoise.diffusion import Preconditioned
from equipoise.images import Images
from equipoise.packing.measured import of_quality, of_rounding
from equipoise.packing.packed import Packed
from equipoise.quality import Kept
from equipoise.report.model_card import model_card
from equipoise.report.words import count

REFERENCES = "\n## References"

__all__ = ["Card", "last_part", "write_card"]

LIMITS = {
    Classifier: "Trained for research on the images named here; its answers about other images mean little. Robust "
    "accuracy is an upper bound, and holds for the threat that was measured alone.",
    Preconditioned: "Its samples are drawn from what it learnt of the images named here, mistakes and labels included. "
    "They show nobody and nothing that was photographed, and are no data about the world.",
}


@dataclass(frozen=True)
class Card:
    """What the card tells.

    Attributes:
        model: as it was written.
        original: fingerprint of the network that it was made from.
        packed: where, how large, and what was compared.
        images: on which.
        sums: SHA-256 of the files.
        run: that measured the classifier, which it calls `name`.
        quality: of the denoiser.
        licence: of the weights.
    """

    model: Classifier | Preconditioned
    original: str
    packed: Packed
    images: Images
    sums: Mapping[str, str]
    run: Run | None
    name: str
    quality: Kept | None
    licence: str | None


def write_card(told: Card) -> str:
    """The Markdown of README.md."""
    where = f"{inert(last_part(told.images.spec))}, split {inert(told.images.split)}"
    parts = [*_what(told), *_training(told), *of_rounding(told.packed, where), *_files(told)]
    if told.run is not None and isinstance(told.model, Classifier):
        # The run's card says what was measured, how and when; its references stay last.
        text, mark, rest = model_card(told.run, told.name, licence=told.licence).partition(
            REFERENCES
        )
        return "\n\n".join([text.rstrip(), *parts]) + f"\n{mark}{rest}"
    head: dict[str, Any] = {"library_name": "equipoise", "tags": ["equipoise"]}
    head |= {"license": told.licence} if told.licence else {}
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    body = [f"# {inert(told.model.name)}", *parts, *of_quality(told.quality)]
    return f"---\n{front}---\n\n" + "\n\n".join(body) + "\n"


def last_part(spec: Any) -> str:
    """A spec of images with the last part alone of its path: folders above are nobody's business."""
    head, mark, options = str(spec).partition("?")
    kind, colon, target = head.partition(":")
    last = re.split(r"[/\\]", target.rstrip("/"))[-1]
    return f"{kind}{colon}{last}{mark}{options}"


def _what(told: Card) -> Iterator[str]:
    model, packed = told.model, told.packed
    kind = "classifier" if isinstance(model, Classifier) else "denoiser"
    parameters = sum(p.numel() for p in model.parameters())
    name = f"{packed.folder.parent.name}/{packed.folder.name}"
    yield "## This asset"
    yield (
        f"A {kind} with {count(parameters)} parameters, {packed.size / 1e6:.2f} MB in {packed.precision}, which is "
        f"read into single precision. In a folder of assets (`EQUIPOISE_ASSETS`, or `assets`) it opens by its place "
        f"there: {inert('asset:' + name)}."
    )
    yield f"Limits: {LIMITS[type(model)]}"
    terms = told.licence and inert(told.licence)
    yield f"Licence of the weights: {terms or 'none was named'}. The images have terms of their own."


def _training(told: Card) -> Iterator[str]:
    facts = told.model.facts
    if not facts:
        return
    yield "## Training"
    images = facts.get("images")
    rows = {
        "Images": f"{facts.get('data', 'unknown')}, split {facts.get('split', 'unknown')}"
        + (f", {count(images)} of them" if isinstance(images, int) else ""),
        "Classes": ", ".join(told.model.classes or ()),
    }
    yield "\n".join(f"- {name}: {inert(text)}" for name, text in rows.items() if text)
    kept = {k: v for k, v in facts.items() if k not in ("data", "split", "images", "identity")}
    text = json.dumps(kept, indent=1).replace("`", "\\u0060")
    yield f"```json\n{text}\n```"


def _files(told: Card) -> Iterator[str]:
    yield "## Files"
    yield "\n".join(f"- `{name}`: SHA-256 `{sum}`" for name, sum in told.sums.items())
    yield f"Made from the network of fingerprint `{told.original}`."
