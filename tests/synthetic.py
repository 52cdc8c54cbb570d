"""Runs of synthetic measurements: as large as wanted, in seconds, with nothing trained and nothing attacked.

No number in them was measured. Image i has a difficulty d_i ~ N(0, 1), a class and a group; classifier k, trained at
radius r_k, has the margin

    m_ik = 1.7 - 0.35 r_k - d_i - 0.6 [i in a minority group] + noise,

is right where m_ik > 0, and is fooled from the radius (0.1 + 0.3 r_k) m_ik on. What other probes would say follows from
the margin with noise of its own. Pictures are crops of photographs. Folder, run.json, shards, their columns and their
types are those that an audit writes.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from equipoise.audit import Run
from equipoise.audit.local import COMMON_TYPES, IMAGE_TYPES
from equipoise.audit.plan import IMAGES, SCHEMA, Shard, shard_size
from equipoise.files import write_json
from equipoise.images import encode_png
from equipoise.probes import Probe, load_probe
from equipoise.processes import cores
from equipoise.store import is_whole, write_shard
from equipoise.streams import digest

__all__ = ["PROBES", "make_run"]

PROBES = (
    "standard",
    "adversarial:l2:0.5",
    "groups",
    "regions:gaussian",
    "saliency",
    "gradients",
    "counterfactual:set",
)
"""Specs that synthetic runs can hold."""

GROUPS = ("land on land", "land on water", "water on land", "water on water")
MINORITIES = GROUPS[1:3]
LEVELS = tuple(k / 255 for k in range(30, 240, 30))
TARGETS = 3
"""Other classes that every image has a counterfactual of."""

Columns = dict[str, NDArray]


def make_run(
    folder: Path,
    *,
    images: int = 50_000,
    classifiers: int = 10,
    classes: int = 10,
    probes: Sequence[str] = PROBES,
    pictures: int = 48,
    side: int = 224,
    seed: int = 0,
) -> Run:
    """A complete run.

    Arguments:
        folder: where to; shards that are there are kept.
        images: how many.
        classifiers: rungs of the ladder, of radius 0, 0.25, 0.5, ...
        classes: of the images.
        probes: some of `PROBES`.
        pictures: pictured images, spread evenly.
        side: height and width of the pictures.
        seed: of everything.
    """
    looks = _Looks(images, classes, pictures, side, seed)
    asked = {spec: load_probe(spec) for spec in probes}
    rungs = {f"l2-{0.25 * k:g}": 0.25 * k for k in range(classifiers)}
    size = shard_size(images)
    shards = [
        Shard(name, spec, first, min(first + size, images), digest(spec, name, first)[:16])
        for first in range(0, images, size)
        for name, spec in [(None, IMAGES), *((name, spec) for name in rungs for spec in asked)]
    ]
    write_json(folder / "run.json", _record(shards, looks, rungs, asked))
    described = [shard for shard in shards if shard.classifier is None]
    _write(folder, described, IMAGE_TYPES, looks.described())
    for k, (name, radius) in enumerate(rungs.items()):
        said = looks.judged(name, radius, np.random.default_rng([seed, k]))
        for spec, probe in asked.items():
            own = [s for s in shards if (s.classifier, s.probe) == (name, spec)]
            columns = said[spec] | looks.common(name, spec)
            _write(folder, own, COMMON_TYPES | dict(probe.types), columns)
    return Run(folder)


def _write(
    folder: Path, shards: Sequence[Shard], types: Mapping[str, str], columns: Columns
) -> None:
    facts = {"seconds": 1.0, "device": "cpu", "equipoise": version("equipoise")}

    def write(shard: Shard) -> None:
        path, rows = folder / shard.file, slice(shard.first, shard.last)
        if not is_whole(path):
            part = {name: values[rows] for name, values in columns.items()}
            told = {"notes": []} if shard.classifier else {"broken": []}
            write_shard(path, types, part, facts | told)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(write, shards))


def _record(
    shards: Sequence[Shard],
    looks: "_Looks",
    rungs: Mapping[str, float],
    asked: Mapping[str, Probe],
) -> dict[str, Any]:
    """run.json."""
    now = "2026-01-01T00:00:00+00:00"
    packages = ("equipoise", "torch", "numpy", "duckdb", "pillow")
    data = {"spec": "folder:synthetic", "split": "test", "images": looks.n}
    return {
        "schema": SCHEMA,
        "status": "complete",
        "repaired": [],
        "engine": {"precision": "exact"},
        "command": "synthetic measurements",
        "created": now,
        "finished": now,
        "seed": 0,
        "data": data
        | {
            "limit": None,
            "classes": [f"class {label}" for label in range(looks.classes)],
            "shape": [3, looks.side, looks.side],
            "fingerprint": digest(looks.n, looks.classes),
            "pictures": len(looks.pictured),
            "examined": len(looks.examined),
        },
        "probes": {spec: type(probe).__name__ for spec, probe in asked.items()},
        "probe_facts": {
            spec: _set_facts(looks) if spec.startswith("counterfactual") else {} for spec in asked
        },
        "versions": {"python": "3"} | {name: version(name) for name in packages},
        "machine": {"device": "cpu", "threads": 1, "cores": 1, "system": "none"},
        "shards": [
            {
                "classifier": s.classifier,
                "probe": s.probe,
                "first": s.first,
                "last": s.last,
                "file": s.file,
            }
            for s in shards
        ],
        "classifiers": {
            name: {
                "fingerprint": digest(name),
                "parameters": 11_689_512,
                "facts": {
                    "objective": {"name": "pgd" if radius else "standard"},
                    "norm": "l2" if radius else None,
                    "radius": radius,
                },
                "beyond": [],
                "preflight": [
                    {"name": "range", "status": "pass", "finding": "Synthetic", "remedy": ""}
                ],
            }
            for name, radius in rungs.items()
        },
    }


def _set_facts(looks: "_Looks") -> dict[str, Any]:
    """What run.json keeps of a set of counterfactuals."""
    made = looks.n * TARGETS
    return {
        "identity": digest("set"),
        "data": {"spec": "folder:synthetic", "split": "test", "images": looks.n},
        "classes": [f"class {label}" for label in range(looks.classes)],
        "settings": {
            "neighbourhood": "gaussian:0.8",
            "guidance": 2.0,
            "steps": 18,
            "method": "reverse",
            "churn": 0.0,
            "interval": ["0", "inf"],
            "per_class": 1,
            "best_of": 1,
            "by": "proximity",
            "targets": TARGETS,
            "seed": 0,
        },
        "evaluations": 35,
        "visible": 0.03137254901960784,
        "denoiser": {"name": "denoiser", "scale": 1.0, "facts": {}},
        "oracles": ["oracle"],
        "counts": {"test": made, "same": looks.n, "noise": made},
        "quality": None,
    }


class _Looks:
    """The images: what they are, and how they look."""

    def __init__(self, n: int, classes: int, pictures: int, side: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.n, self.classes, self.side, self.rng = n, classes, side, rng
        self.ids = np.array([f"{i % classes:04d}/{i:07d}.png" for i in range(n)], dtype=object)
        self.labels = np.arange(n) % classes
        # Two places: nine in ten images stand where their class usually does.
        usual = rng.random(n) < 0.9
        water = self.labels % 2 == 1
        self.groups = np.array(GROUPS, dtype=object)[2 * water + (water == usual)]
        self.difficulty = rng.standard_normal(n)
        self.area = rng.uniform(0.05, 0.6, n)
        self.proximity = rng.gamma(9.0, 0.4, n)
        shown = min(pictures, n)
        self.pictured = [round(k * (n - 1) / max(1, shown - 1)) for k in range(shown)]
        self.examined = rng.choice(n, min(n, 64), replace=False)
        photographs = [p.transpose(2, 0, 1) / np.float32(255) for p in load_sample_images().images]
        self.originals = {}
        for row in self.pictured:
            photograph = photographs[row % 2]
            top, left = (int(rng.integers(0, size - side)) for size in photograph.shape[1:])
            self.originals[row] = photograph[:, top : top + side, left : left + side]

    def filled(self, draw: Callable[[NDArray], Any]) -> NDArray:
        """A column that holds `draw` of the original for pictured images alone."""
        column = np.full(self.n, None, dtype=object)
        for row, original in self.originals.items():
            column[row] = draw(original)
        return column

    def described(self) -> Columns:
        """Columns of the images themselves."""
        return {
            "id": self.ids,
            "label": self.labels,
            "group": self.groups,
            "digest": np.array([digest(name, size=8) for name in self.ids], dtype=object),
            "picture": self.filled(_png),
        }

    def common(self, classifier: str, spec: str) -> Columns:
        """What every measurement begins with."""
        return {
            "classifier": np.full(self.n, classifier, dtype=object),
            "probe": np.full(self.n, spec, dtype=object),
            "id": self.ids,
            "label": self.labels,
            "group": self.groups,
        }

    def judged(self, name: str, radius: float, rng: np.random.Generator) -> dict[str, Columns]:
        """What every probe says of one classifier, by spec."""
        n = self.n

        def noise(size: float) -> NDArray:
            return size * rng.standard_normal(n)

        minority = np.isin(self.groups.astype(str), MINORITIES)
        margin = 1.7 - 0.35 * radius - self.difficulty - 0.6 * minority + noise(0.5)
        correct = margin > 0
        wrong_class = (self.labels + rng.integers(1, self.classes, n)) % self.classes
        sureness = 1 / (1 + np.exp(-np.abs(margin)))
        forwards, backwards = (rng.integers(100, 900, n) for _ in range(2))
        passes = {"forwards": forwards, "backwards": backwards}
        smallest = np.where(correct, (0.1 + 0.3 * radius) * margin, 0.0)
        success = smallest <= 0.5
        examined = np.full(n, None, dtype=object)
        examined[self.examined] = success[self.examined]
        broken_by = np.where(rng.random(n) < 0.97, "MinimumNorm", "APGD").astype(object)
        broken_by[~success] = ""

        def spoilt(size: float) -> NDArray:
            return np.clip(margin / 3 + 0.5 + noise(size), 0, 1)

        def between(low: float, high: float) -> NDArray:
            return rng.uniform(low, high, n)

        levels = np.full(n, None, dtype=object)
        levels[:] = [list(LEVELS)] * n
        sides = {}
        for part, harm in (("object", 0.3), ("background", 0.2)):
            harms = np.arange(len(LEVELS)) * harm
            held = (margin[:, None] - harms + 0.4 * rng.standard_normal((n, len(LEVELS)))) > 0
            sides[part] = np.full(n, None, dtype=object)
            sides[part][:] = held.astype(float).tolist()
        walk = np.linspace(0, 1, 9)
        paths = {}
        for part, share in (("source_path", 1 - walk), ("target_path", walk)):
            paths[part] = np.full(n, None, dtype=object)
            paths[part][:] = (sureness[:, None] * share).tolist()
        follow = np.round(np.clip(0.9 - 0.15 * radius + noise(0.3), 0, 1) * TARGETS) / TARGETS
        return {
            "standard": {
                "prediction": np.where(correct, self.labels, wrong_class),
                "correct": correct,
                "confidence": sureness,
                "margin": margin,
            },
            "adversarial:l2:0.5": {
                "success": success,
                "distance": np.minimum(smallest, 0.5),
                "radius": smallest,
                "broken_by": broken_by,
                "margin": np.where(success, -0.1, margin / 4),
                "agreement": np.where(success, np.nan, between(0.6, 1)),
                "steady": np.ones(n, dtype=bool),
                "confirmed": success.astype(float),
                "doubled": examined,
                "adversarial_prediction": np.where(success, wrong_class, self.labels),
                "picture": self.filled(lambda x: _png(x + _grain(x, rng) / 40)),
                "change": self.filled(lambda x: _png(0.5 + _grain(x, rng))),
                "amplification": np.full(n, 20.0),
            }
            | passes,
            "groups": {"correct": correct},
            "regions:gaussian": {
                "levels": levels,
                "sensitivity": np.clip(noise(0.3) + 0.1, -1, 1),
                "area": self.area,
                "forwards": np.full(n, 2 * len(LEVELS)),
                "picture": self.filled(
                    lambda x: _png(np.concatenate([x + _grain(x, rng), x + _grain(x, rng)], 2))
                ),
            }
            | sides,
            "saliency": {
                "gradient_inside": spoilt(0.2) * 0.7,
                "cam_inside": spoilt(0.2) * 0.9,
                "gradient_precision": spoilt(0.1) * 0.6,
                "cam_precision": spoilt(0.1) * 0.8,
                "cam_overlap": spoilt(0.2) * 0.5,
                "cam_contrast": spoilt(0.3) - 0.5,
                "area": self.area,
                "picture": self.filled(lambda x: _png(np.concatenate([_grain(x, rng), x], 2)[:1])),
            }
            | {key: np.ones(n, dtype=int) for key in passes},
            "gradients": {
                "length": rng.gamma(2.0, 0.5, n),
                "sparsity": between(0.3, 0.7),
                "inside": spoilt(0.2) * 0.7,
                "area": self.area,
                "alignment": np.full(n, np.nan),
                "noise_alignment": np.full(n, np.nan),
                "picture": self.filled(lambda x: _png(0.5 + _grain(x, rng))),
            }
            | {key: np.ones(n, dtype=int) for key in passes},
            "counterfactual:set": {
                "counterfactuals": np.full(n, TARGETS),
                "accepted": rng.integers(0, TARGETS + 1, n),
                "accuracy": follow,
                "accepted_accuracy": np.clip(follow + 0.1, 0, 1),
                "accepted_invariance": (1 - follow) / 2,
                "accepted_kept": (1 - follow) / 2,
                "accepted_response": noise(0.2) + 0.5,
                "invariance": 1 - follow,
                "kept": 1 - follow,
                "response": noise(0.2) + 0.4,
                "alignment": np.clip(noise(0.1) + 0.1 * radius, -1, 1),
                "same_accuracy": correct.astype(float),
                "same_kept": np.ones(n),
                "noise_accuracy": correct.astype(float),
                "noise_kept": np.ones(n),
                "noise_response": noise(0.1),
                "proximity": self.proximity,
                "proximity_min": 0.8 * self.proximity,
                "proximity_min_linf": 0.1 * self.proximity,
                "accepted_proximity": self.proximity,
                "same_distance": 0.9 * self.proximity,
                "changed": between(0, 0.5),
                "confidence": sureness,
                "picture": self.filled(lambda x: _png(np.concatenate([x] * (TARGETS + 1), 2))),
                "strip": self.filled(lambda x: list(range(TARGETS + 1))),
            }
            | paths
            | passes,
        }


def _png(pixels: NDArray) -> bytes:
    return encode_png(torch.from_numpy(np.clip(pixels, 0, 1).astype(np.float32)))


def _grain(like: NDArray, rng: np.random.Generator) -> NDArray:
    """A change of some pixels, as attacks leave it: loud along edges, quiet elsewhere."""
    edges = np.abs(np.diff(like, axis=2, prepend=0)).clip(0, 0.3)
    return edges * rng.standard_normal(like.shape)
