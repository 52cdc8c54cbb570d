"""WorstCase beside AutoAttack's standard version: verdicts, passes and time on the same images and classifiers.

AutoAttack comes from pyautoattack, the package index's copy with the same passes and verdicts, in a venv of its own:

    python -m venv peers
    peers/bin/pip install -e .
    peers/bin/pip install --no-deps pyautoattack
    peers/bin/python benchmarks/worst_case.py --out worst-case --photographs PATH

PATH is a folder with the Parquet files of CIFAR-10 or of a set like it; cases on photographs are left out without it.
Trained classifiers and what AutoAttack found are kept in the folder `--out`, so that repeating the line continues.

Fairness. One judge for both: an image is broken when the one found is misclassified, in the ball up to rounding and in
[0, 1]. AutoAttack calls the bare network, WorstCase the classifier, with the padding it wants. Passes are counted image
by image outside of that padding. WorstCase is timed three times and the median counts; AutoAttack, which takes long,
once. Both are set against the floor of the same minutes: their passes, forward alone or with backward, at what an image
costs in a batch of all, with the parameters frozen.
"""

import argparse
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from equipoise.attacks import WorstCase
from equipoise.classifiers import Classifier
from equipoise.images import Arrays, load_images
from equipoise.norms import Threat, parse_threat
from equipoise.streams import content_ids, digest
from equipoise.training import Recipe, train_ladder

ROUNDS = 3
AUTOATTACK_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


@dataclass(frozen=True)
class Case:
    """A classifier, by its training, and what it is attacked with.

    Arguments:
        images: a name that `open_images` knows.
        recipe: a key of `RECIPES`.
        trained: the threat of adversarial training.
        threat: the threat of the attacks.
        share: of `--images`, how many to attack.
    """

    images: str
    recipe: str
    trained: str
    threat: str
    share: float = 1.0


CASES = {
    "mlp-standard-l2": Case("digits", "mlp", "l2:0", "l2:0.5"),
    "mlp-l2": Case("digits", "mlp", "l2:1", "l2:1"),
    "mlp-l1": Case("digits", "mlp", "l2:1", "l1:2.5"),
    "mlp-l1-far": Case("digits", "mlp", "l2:1", "l1:3"),
    "conv-standard-l2": Case("digits", "conv", "l2:0", "l2:0.5"),
    "conv-l2": Case("digits", "conv", "l2:1", "l2:1"),
    "conv-l1": Case("digits", "conv", "l2:1", "l1:2.5"),
    "conv-linf": Case("digits", "conv", "linf:0.1", "linf:0.15"),
    "conv-linf-l1": Case("digits", "conv", "linf:0.1", "l1:3"),
    "two": Case("halves", "mlp", "linf:0.1", "linf:0.1"),
    "hundred": Case("pairs", "short mlp", "linf:0.05", "linf:0.05"),
    "photographs-standard-linf": Case("photographs", "photographs", "linf:0", "linf:1/255", 0.4),
    "photographs-l2": Case("photographs", "photographs", "l2:0.5", "l2:0.5", 0.4),
    "photographs-linf": Case("photographs", "photographs", "linf:4/255", "linf:4/255", 0.4),
    "photographs-l1": Case("photographs", "photographs", "l2:0.5", "l1:8", 0.4),
}

RECIPES = {
    "mlp": Recipe(net="mlp", epochs=100),
    "short mlp": Recipe(net="mlp", epochs=40),
    "conv": Recipe(net="residual", widths=(16, 32), epochs=25),
    "photographs": Recipe(
        net="residual", widths=(8, 16, 32), epochs=8, limit=6000, flip=True, shift=2
    ),
}


def digits(split):
    data = load_images("digits", split)
    batch = data.batch(range(len(data)))
    return batch.images, batch.labels


def halves(split):
    """Two classes: digits below five and the others."""
    x, y = digits(split)
    return Arrays(x, (y >= 5).long().tolist(), ("low", "high"), spec="halves", split=split)


def pairs(split):
    """A hundred classes: two digits side by side."""
    x, y = digits(split)
    count, seed = (6000, 1) if split == "train" else (400, 2)
    left, right = torch.randint(
        len(x), (2, count), generator=torch.Generator().manual_seed(seed)
    ).unbind()
    return Arrays(
        torch.cat([x[left], x[right]], 3),
        (10 * y[left] + y[right]).tolist(),
        tuple(f"{number:02d}" for number in range(100)),
        spec="pairs",
        split=split,
    )


def open_images(name, split, photographs):
    match name:
        case "halves":
            return halves(split)
        case "pairs":
            return pairs(split)
        case "photographs":
            return load_images(f"parquet:{photographs}", split)
    return load_images(name, split)


class Counted(Classifier):
    """A classifier that counts the images it has seen forward and backward."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(
            classifier.net,
            mean=classifier.mean,
            std=classifier.std,
            classes=classifier.classes,
            name=classifier.name,
            facts=classifier.facts,
        )
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        """What AutoAttack calls: without the check of the range and without padding."""
        scaled = images if self.identity_scaling else (images - self.mean) / self.std
        return self._count(images, self.net(scaled))

    def logits(self, images: Tensor) -> Tensor:
        """What equipoise's attacks call."""
        return self._count(images, super().logits(images))

    def _count(self, images: Tensor, logits: Tensor) -> Tensor:
        self.forwards += len(images)
        if logits.requires_grad:
            logits.register_hook(self._count_backward)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


@dataclass(frozen=True)
class Outcome:
    """What an attack found on one case and what that cost; `floor` is in seconds too."""

    broken: Tensor
    forwards: int
    backwards: int
    seconds: float
    floor: float


class Problem:
    """The classifier and images of a case."""

    def __init__(self, case: Case, out: Path, photographs: str, images: int) -> None:
        recipe = RECIPES[case.recipe]
        self.classifier = train_ladder(
            open_images(case.images, "train", photographs),
            [parse_threat(case.trained)],
            recipe,
            out / "classifiers" / f"{case.images}-{recipe.net}",
            steps=5 if case.images == "photographs" else 7,
            accelerator="cpu",
        )[0]
        data = open_images(case.images, "test", photographs)
        data = data.subset(max(round(case.share * images), 1))
        batch = data.batch(range(len(data)))
        self.images, self.labels = batch.images, batch.labels
        self.threat: Threat = parse_threat(case.threat)

    @property
    def name(self) -> str:
        """The same for the same classifier, images and threat."""
        return digest(self.classifier.fingerprint(), content_ids(self.images), str(self.threat))

    def broken(self, found: Tensor) -> Tensor:
        """Which images `found` breaks, with shape (B,)."""
        inside = self.threat.distance(self.images, found) <= self.threat.radius * (1 + 1e-5)
        inside &= ((found >= 0) & (found <= 1)).flatten(1).all(1)
        return inside & (self.classifier(found.clamp(0, 1)).argmax(1) != self.labels)

    def floor(self, forwards: int, backwards: int) -> float:
        """What so many passes cost, in seconds, when each is made in a batch of all images."""
        alone, both = [], []
        for _ in range(5):
            started = time.process_time()
            with torch.no_grad():
                self.classifier.logits(self.images)
            alone.append(time.process_time() - started)
            started = time.process_time()
            x = self.images.clone().requires_grad_(True)
            loss = cross_entropy(self.classifier.logits(x), self.labels, reduction="sum")
            torch.autograd.grad(loss, x)
            both.append(time.process_time() - started)
        paid = (forwards - backwards) * statistics.median(alone)
        return (paid + backwards * statistics.median(both)) / len(self.images)


def members(classes):
    """AutoAttack's members. The targeted ones of the standard version need ten classes."""
    standard = ("apgd-ce", "apgd-t", "fab-t", "square")
    return standard if classes >= 10 else ("apgd-ce", "fab", "square")


def run_autoattack(classifier, images, labels, threat, attacks):
    """The images found by members with the settings of the standard version."""
    from pyautoattack.autoattack import AutoAttack  # pyright: ignore[reportMissingImports]

    norm = AUTOATTACK_NORMS[threat.norm]
    attack = AutoAttack(classifier, norm=norm, eps=threat.radius, seed=0, version="standard")
    attack.attacks_to_run = list(attacks)
    return attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]


def autoattack(problem, attacks, folder):
    """AutoAttack's outcome, and whether it is an earlier run's."""
    path = folder / f"{problem.name}.pt"
    if path.exists():
        return Outcome(**torch.load(path)), True
    counted = Counted(problem.classifier)
    started = time.process_time()
    found = run_autoattack(counted, problem.images, problem.labels, problem.threat, attacks)
    seconds = time.process_time() - started
    outcome = Outcome(
        broken=problem.broken(found),
        forwards=counted.forwards,
        backwards=counted.backwards,
        seconds=seconds,
        floor=problem.floor(counted.forwards, counted.backwards),
    )
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(vars(outcome), path)
    return outcome, False


def worst_case(problem):
    """WorstCase's result and outcome; of its time, and of its time over the floor, the median round's."""

    def once():
        started = time.process_time()
        result = WorstCase()(problem.classifier, problem.images, problem.labels, problem.threat)
        return result, time.process_time() - started, problem.floor(*passes(result))

    rounds = [once() for _ in range(ROUNDS)]
    result = rounds[0][0]
    seconds = statistics.median(seconds for _, seconds, _ in rounds)
    over = statistics.median(seconds / floor for _, seconds, floor in rounds)
    outcome = Outcome(problem.broken(result.images), *passes(result), seconds, seconds / over)
    return result, outcome


def passes(result):
    """Forward and backward passes over all images."""
    return int(result.forwards.sum()), int(result.backwards.sum())


def check_count(problem):
    """Whether WorstCase counts its passes as somebody who stands around the classifier would, on a few images."""
    counted, few = Counted(problem.classifier), slice(0, 24)
    result = WorstCase()(counted, problem.images[few], problem.labels[few], problem.threat)
    told = passes(result)
    if told != (counted.forwards, counted.backwards):
        raise SystemExit(f"WorstCase told {told}, not {counted.forwards, counted.backwards}.")
    print(f"WorstCase's own count of passes is right: {told[0]} and {told[1]} on 24 images.")


def show(label, theirs, ours, ratio=""):
    print(f"  {label:24}{theirs:>12}{ours:>12}{ratio:>9}".rstrip())


def compare(name, problem, folder):
    """Prints a case; returns both outcomes and a line for each image that only AutoAttack broke."""
    attacks = members(len(problem.classifier.classes))
    theirs, earlier = autoattack(problem, attacks, folder)
    result, ours = worst_case(problem)
    clean = (problem.classifier(problem.images).argmax(1) == problem.labels).double().mean()
    print(f"\n{name}: {len(problem.images)} images, {problem.threat}, clean accuracy {clean:.3f}")
    if "apgd-t" not in attacks:
        print(f"  AutoAttack's standard version fails below 10 classes: {', '.join(attacks)} here")
    if earlier:
        print("  AutoAttack's numbers are of an earlier run")
    for note in result.notes:
        print(f"  WorstCase: {note}")
    union = 1 - (theirs.broken | ours.broken).double().mean()
    missed, more = theirs.broken & ~ours.broken, ours.broken & ~theirs.broken
    show("", "AutoAttack", "WorstCase", "ratio")
    a, b = (1 - outcome.broken.double().mean() for outcome in (theirs, ours))
    show("robust accuracy", f"{a:.4f}", f"{b:.4f}")
    show("  of both together", f"{union:.4f}", f"{union:.4f}")
    show("broken by it alone", int(missed.sum()), int(more.sum()))
    costs(theirs, ours)
    found = Counter(member or "nothing" for member in result.broken_by)
    print(
        "  WorstCase by member: "
        + ", ".join(f"{member} {count}" for member, count in found.most_common())
    )
    return theirs, ours, losses(name, problem, result, missed, attacks)


def costs(theirs, ours):
    for label, kind in (("forward passes", "forwards"), ("backward passes", "backwards")):
        a, b = getattr(theirs, kind), getattr(ours, kind)
        show(label, a, b, f"{b / a:.3f}")
    a, b = (outcome.forwards + outcome.backwards for outcome in (theirs, ours))
    show("passes", a, b, f"{b / a:.3f}")
    ratio = f"{ours.seconds / theirs.seconds:.3f}"
    show("seconds of CPU", f"{theirs.seconds:.2f}", f"{ours.seconds:.2f}", ratio)
    a, b = (outcome.seconds / outcome.floor for outcome in (theirs, ours))
    show("time over the floor", f"{a:.2f}", f"{b:.2f}")


def losses(name, problem, result, missed, attacks):
    """A line for each image that only AutoAttack broke, with the members that break it alone."""
    rows = missed.nonzero().squeeze(1)
    if not len(rows):
        return []
    few = problem.images[rows], problem.labels[rows]
    breakers = {row: [] for row in rows.tolist()}
    for member in attacks:
        found = problem.images.clone()
        counted = Counted(problem.classifier)
        found[rows] = run_autoattack(counted, *few, problem.threat, [member])
        for row in rows[problem.broken(found)[rows]].tolist():
            breakers[row].append(member)
    return [
        f"{name}, image {row}: margin {result.margin[row]:.2g} left, AutoAttack's "
        f"{', '.join(found) or 'members do not break it again with other draws'}"
        for row, found in breakers.items()
    ]


def total(outcomes):
    """The outcomes of one attack on all cases as one."""
    return Outcome(
        broken=torch.cat([outcome.broken for outcome in outcomes]),
        forwards=sum(outcome.forwards for outcome in outcomes),
        backwards=sum(outcome.backwards for outcome in outcomes),
        seconds=sum(outcome.seconds for outcome in outcomes),
        floor=sum(outcome.floor for outcome in outcomes),
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to keep things in")
    parser.add_argument("--photographs", default="", help="folder of Parquet files")
    parser.add_argument("--images", type=int, default=300, help="a case; 40 %% of photographs")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    names = [n for n in settings.only if settings.photographs or CASES[n].images != "photographs"]
    if not names:
        parser.error("cases on photographs need --photographs")
    outcomes, lines = [], []
    for name in names:
        problem = Problem(CASES[name], settings.out, settings.photographs, settings.images)
        if not outcomes:
            check_count(problem)
        theirs, ours, lost = compare(name, problem, settings.out / "autoattack")
        outcomes.append((theirs, ours))
        lines += lost
    theirs, ours = (total(side) for side in zip(*outcomes, strict=True))
    print(f"\nTotal: {len(names)} cases, {len(theirs.broken)} images")
    show("", "AutoAttack", "WorstCase", "ratio")
    show("broken", int(theirs.broken.sum()), int(ours.broken.sum()))
    only_theirs, only_ours = theirs.broken & ~ours.broken, ours.broken & ~theirs.broken
    show("broken by it alone", int(only_theirs.sum()), int(only_ours.sum()))
    costs(theirs, ours)
    print("\nImages that only AutoAttack broke:" + ("" if lines else " none"))
    for line in lines:
        print(f"  {line}")


if __name__ == "__main__":
    main()
