"""Does the classifier see real, low-norm semantic change?

Each image x0 of class y has counterfactuals x_c of other classes c, made beforehand (`counterfactuals.make_set`), and
controls: counterfactuals of its own class, and noise of the same lengths. With f the prediction, z the logits, p their
softmax,

    accuracy      share of the x_c with f(x_c) = c
    invariance    share with f(x_c) = y;   kept: share with f(x_c) = f(x0)
    response      mean of [m_c(x_c) - m_c(x0)] / |x_c - x0|_2,  m_c = z_c - z_y
    alignment     mean cosine between the gradient of m_c at x0 and x_c - x0
    path          means over c of p_y and p_c at nine points from x0 to x_c
    proximity     mean and least |x_c - x0|_2: how near other classes are, which is a fact about the image
    changed       mean share of pixels that a counterfactual changes visibly

A classifier that answers rightly follows the change; one that was trained to ignore changes of that size keeps its
answer. Each share also comes for those counterfactuals alone that the oracles accept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.counterfactuals import SPLITS, CounterfactualSet, Rows
from equipoise.images import Batch, encode_png
from equipoise.probes.metric import Metric
from equipoise.probes.pairs import CHUNK, alignment, check_classes, lead, made_of, open_set
from equipoise.probes.probe import Answers, Columns, Probe, Request

__all__ = ["POINTS", "Counterfactual"]

POINTS = 9
"""Of the path from an original to its counterfactual."""

_NUMBERS = (
    "accuracy",
    "accepted_accuracy",
    "accepted_invariance",
    "accepted_kept",
    "accepted_response",
    "invariance",
    "kept",
    "response",
    "alignment",
    "same_accuracy",
    "same_kept",
    "noise_accuracy",
    "noise_kept",
    "noise_response",
    "proximity",
    "proximity_min",
    "proximity_min_linf",
    "accepted_proximity",
    "same_distance",
    "changed",
    "confidence",
)


@dataclass(frozen=True)
class Counterfactual(Probe):
    """What a classifier says of counterfactuals and their controls.

    Arguments:
        folder: of the set. Images that it has no counterfactuals of get empty columns.
    """

    folder: str

    name: ClassVar[str] = "counterfactual"
    types: ClassVar[Mapping[str, str]] = {
        "counterfactuals": "INTEGER",
        "accepted": "INTEGER",
        **dict.fromkeys(_NUMBERS, "FLOAT"),
        "source_path": "FLOAT[]",
        "target_path": "FLOAT[]",
        "forwards": "INTEGER",
        "backwards": "INTEGER",
        "picture": "BLOB",
        "strip": "INTEGER[]",
    }

    def __str__(self) -> str:
        return f"{self.name}:{self.folder}"

    def nature(self) -> str:
        return f"{type(self).__name__}(set {self.made.identity})"

    def facts(self) -> dict[str, Any]:
        record = self.made.record
        kept = ("identity", "data", "classes", "settings", "evaluations", "visible", "denoiser")
        counts = {
            split: sum(shard[split]["rows"] for shard in record["shards"].values())
            for split in SPLITS
        }
        return {
            **{key: record[key] for key in kept},
            "oracles": [name for name, _ in record["made_by"]["oracles"]],
            "counts": counts,
            "quality": self.made.quality,
        }

    @cached_property
    def made(self) -> CounterfactualSet:
        """The set."""
        return open_set(self.folder)

    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        notes: list[str] = []
        rows = [
            _Image(batch.images[i], int(batch.labels[i]), made)
            for i, made in enumerate(made_of(self.made, batch))
        ]
        answers = [
            row.ask(classifier, notes, pictured=p)
            for row, p in zip(rows, request.pictured, strict=True)
        ]
        columns = {}
        for name, kind in self.types.items():
            values = np.empty(len(answers), dtype=object)
            values[:] = [answer[name] for answer in answers]
            columns[name] = (
                values if kind.endswith("]") or kind == "BLOB" else values.astype(float)
            )
        return Answers(columns, notes=tuple(notes))

    def metrics(self, columns: Columns) -> list[Metric]:
        def known(name: str) -> NDArray:
            values = np.asarray(columns[name], dtype=float)
            return values[~np.isnan(values)]

        accepted = known("accepted_accuracy")
        return [
            Metric("accuracy on counterfactuals", known("accuracy"), "mean"),
            *(
                [Metric("accuracy on accepted counterfactuals", accepted, "mean")]
                if len(accepted)
                else []
            ),
            Metric("source label kept", known("invariance"), "mean", better="neither"),
            Metric("same-class accuracy", known("same_accuracy"), "mean", better="neither"),
            Metric("noise accuracy", known("noise_accuracy"), "mean", better="neither"),
            Metric(
                "counterfactual proximity",
                known("proximity"),
                "mean",
                unit="distance",
                better="neither",
                about="images",
            ),
        ]


@dataclass(frozen=True)
class _Image:
    """One original with everything that was made of it."""

    image: Tensor
    label: int
    made: dict[str, Rows]

    def ask(self, classifier: Classifier, notes: list[str], *, pictured: bool) -> dict[str, Any]:
        """The columns of this image."""
        other, same, noise = (self.made[split] for split in ("test", "same", "noise"))
        answer: dict[str, Any] = dict.fromkeys(_NUMBERS, float("nan"))
        answer |= {"counterfactuals": len(other), "accepted": 0, "forwards": 0, "backwards": 0}
        answer |= dict.fromkeys(("source_path", "target_path", "picture", "strip"))
        if not len(other):
            return answer
        device = self.image.device
        target = torch.from_numpy(other.columns["target"].astype(np.int64)).to(device)
        first = torch.from_numpy(other.columns["number"] == 0).to(device)
        changed = other.images.to(device)
        start = self.image[None]
        share = torch.linspace(0, 1, POINTS, device=device)[1:-1]
        between = torch.lerp(start, changed[first][:, None], share[:, None, None, None])
        logits = _logits(
            classifier,
            torch.cat(
                [
                    start,
                    changed,
                    same.images.to(device),
                    noise.images.to(device),
                    between.flatten(0, 1),
                ]
            ),
        )
        here, there, own, noisy, path = logits.split(
            [
                1,
                len(other),
                len(same),
                len(noise),
                len(logits) - 1 - len(other) - len(same) - len(noise),
            ]
        )
        check_classes(classifier, logits, target)
        y, before = self.label, here.argmax(1)
        read = there.argmax(1)
        right = (read == target).float()
        valid = [bool(v) for v in other.columns["valid"].tolist()]  # missing without oracles
        accepted = torch.tensor(valid, device=device)
        length = (changed - start).flatten(1).norm(dim=1).clamp(min=1e-12)
        noise_length = (noise.images.to(device) - start).flatten(1).norm(dim=1).clamp(min=1e-12)
        beside = torch.from_numpy(noise.columns["target"].astype(np.int64)).to(device)
        step = changed[first] - start
        cosines = alignment(
            classifier, self.image, y, step=step, target=target[first], notes=notes
        )
        response = (lead(there, target, y) - lead(here, target, y)) / length
        answer |= {
            "accepted": int(accepted.sum()),
            "accuracy": right.mean().item(),
            "accepted_accuracy": right[accepted].mean().item(),
            "accepted_invariance": (read == y)[accepted].float().mean().item(),
            "accepted_kept": (read == before)[accepted].float().mean().item(),
            "accepted_response": response[accepted].mean().item(),
            "invariance": (read == y).float().mean().item(),
            "kept": (read == before).float().mean().item(),
            "response": response.mean().item(),
            "alignment": cosines.mean().item(),
            "same_accuracy": (own.argmax(1) == y).float().mean().item(),
            "same_kept": (own.argmax(1) == before).float().mean().item(),
            "noise_accuracy": (noisy.argmax(1) == y).float().mean().item(),
            "noise_kept": (noisy.argmax(1) == before).float().mean().item(),
            "noise_response": ((lead(noisy, beside, y) - lead(here, beside, y)) / noise_length)
            .mean()
            .item(),
            "proximity": length.mean().item(),
            "proximity_min": length.min().item(),
            "proximity_min_linf": float(other.columns["linf"].min()),
            "accepted_proximity": length[accepted].mean().item(),
            "changed": float(other.columns["changed"].mean()),
            "same_distance": float(same.columns["l2"].mean()) if len(same) else float("nan"),
            "confidence": here.softmax(1)[0, y].item(),
            "forwards": len(logits) + int(first.sum()),
            "backwards": int(first.sum()),
        }
        walk = torch.cat(
            [
                here.softmax(1).expand(int(first.sum()), 1, -1),
                path.softmax(1).view(int(first.sum()), POINTS - 2, -1),
                there[first].softmax(1)[:, None],
            ],
            dim=1,
        )
        towards = walk.gather(2, target[first][:, None, None].expand(-1, POINTS, 1))
        answer["source_path"] = walk[:, :, y].mean(0).tolist()
        answer["target_path"] = towards[:, :, 0].mean(0).tolist()
        if pictured:
            answer["picture"], answer["strip"] = self._strip(other, same)
        return answer

    def _strip(self, other: Rows, same: Rows) -> tuple[bytes, list[int]]:
        """The first counterfactual of each class side by side, by class, the original's own among them."""
        tiles = [
            (int(label), image)
            for rows in (other, same)
            for label, number, image in zip(
                rows.columns["target"], rows.columns["number"], rows.images, strict=True
            )
            if number == 0
        ]
        tiles.sort(key=lambda tile: tile[0])
        strip = torch.cat([image for _, image in tiles], dim=2)
        return encode_png(strip), [label for label, _ in tiles]


@torch.no_grad()
def _logits(classifier: Classifier, images: Tensor) -> Tensor:
    return torch.cat([classifier(part).float() for part in images.split(CHUNK)])
