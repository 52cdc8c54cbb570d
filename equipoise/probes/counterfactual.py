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
from equipoise.errors import EquipoiseError
from equipoise.images import Batch, encode_png
from equipoise.probes.probe import Answers, Columns, Metric, Probe, Request
from equipoise.streams import content_ids

__all__ = ["POINTS", "Counterfactual"]

POINTS = 9
"""Of the path from an original to its counterfactual."""

CHUNK = 256
"""Images in a classifier call."""

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
        made = CounterfactualSet(self.folder)
        made.files("test")
        if made.record["status"] != "complete":
            raise EquipoiseError(
                f"Cannot probe with the counterfactuals {self.folder!r}: they are unfinished. Repeat the command that "
                "makes them."
            )
        return made

    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        ids = list(batch.ids)
        found = {split: self.made.rows(split, ids) for split in ("test", "same", "noise")}
        if found["test"].images.shape[1:] != batch.images.shape[1:]:
            raise EquipoiseError(
                f"Cannot probe images of shape {tuple(batch.images.shape[1:])} with the counterfactuals "
                f"{self.folder!r}, whose shape is {tuple(found['test'].images.shape[1:])}. Make them of these images."
            )
        self._check_originals(batch, found["same"])
        rows = [
            _Image(
                batch.images[i],
                int(batch.labels[i]),
                {split: _of(table, name) for split, table in found.items()},
            )
            for i, name in enumerate(ids)
        ]
        answers = [
            row.ask(classifier, pictured=p) for row, p in zip(rows, request.pictured, strict=True)
        ]
        columns = {}
        for name, kind in self.types.items():
            values = np.empty(len(answers), dtype=object)
            values[:] = [answer[name] for answer in answers]
            columns[name] = (
                values if kind.endswith("]") or kind == "BLOB" else values.astype(float)
            )
        return Answers(columns)

    def _check_originals(self, batch: Batch, same: Rows) -> None:
        """Refuses counterfactuals of other images that happen to have the same names."""
        pixels = dict(zip(batch.ids, content_ids(batch.images), strict=True))
        labels = dict(zip(batch.ids, batch.labels.tolist(), strict=True))
        for name, label, made_of in zip(
            same.columns["source_id"],
            same.columns["source_label"],
            same.columns["source_digest"],
            strict=True,
        ):
            if pixels[name] != made_of or labels[name] != label:
                raise EquipoiseError(
                    f"Cannot probe with the counterfactuals {self.folder!r}: their {name!r} is another image, or has "
                    "another label, than that of the audit. Make them of the images that are audited."
                )

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
            ),
        ]


def _of(table: Rows, name: str) -> Rows:
    """The rows of one original."""
    mine = table.columns["source_id"] == name
    return Rows(
        table.images[torch.from_numpy(np.asarray(mine, dtype=bool))],
        {key: values[mine] for key, values in table.columns.items()},
    )


@dataclass(frozen=True)
class _Image:
    """One original with everything that was made of it."""

    image: Tensor
    label: int
    made: dict[str, Rows]

    def ask(self, classifier: Classifier, *, pictured: bool) -> dict[str, Any]:
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
        if int(target.max()) >= logits.shape[1]:
            raise EquipoiseError(
                f"The classifier {classifier.name!r} has {logits.shape[1]} classes, and a counterfactual is of class "
                f"{int(target.max())}. Make counterfactuals of this classifier's classes."
            )
        y, before = self.label, here.argmax(1)
        read = there.argmax(1)
        right = (read == target).float()
        valid = [bool(v) for v in other.columns["valid"].tolist()]  # missing without oracles
        accepted = torch.tensor(valid, device=device)
        length = (changed - start).flatten(1).norm(dim=1).clamp(min=1e-12)
        noise_length = (noise.images.to(device) - start).flatten(1).norm(dim=1).clamp(min=1e-12)
        beside = torch.from_numpy(noise.columns["target"].astype(np.int64)).to(device)
        response = (_margin(there, target, y) - _margin(here, target, y)) / length
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
            "alignment": self._alignment(classifier, changed[first] - start, target[first]),
            "same_accuracy": (own.argmax(1) == y).float().mean().item(),
            "same_kept": (own.argmax(1) == before).float().mean().item(),
            "noise_accuracy": (noisy.argmax(1) == y).float().mean().item(),
            "noise_kept": (noisy.argmax(1) == before).float().mean().item(),
            "noise_response": (
                (_margin(noisy, beside, y) - _margin(here, beside, y)) / noise_length
            )
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

    def _alignment(self, classifier: Classifier, step: Tensor, target: Tensor) -> float:
        """Mean cosine between the gradient of m_c at x0 and the way to the counterfactual."""
        cosines = []
        for part, to in zip(step.split(CHUNK), target.split(CHUNK), strict=True):
            x = self.image[None].expand_as(part).clone().requires_grad_()
            with torch.enable_grad():
                total = _margin(classifier.logits(x), to, self.label).sum()
                (gradient,) = torch.autograd.grad(total, x)
            cosines.append(torch.cosine_similarity(gradient.flatten(1), part.flatten(1), dim=1))
        return torch.cat(cosines).mean().item()

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


def _margin(logits: Tensor, target: Tensor, label: int) -> Tensor:
    """m_c = z_c - z_y for each row's target, with shape (B,); one row of logits serves all targets."""
    return logits.expand(len(target), -1).gather(1, target[:, None]).squeeze(1) - logits[:, label]


@torch.no_grad()
def _logits(classifier: Classifier, images: Tensor) -> Tensor:
    return torch.cat([classifier(part).float() for part in images.split(CHUNK)])
