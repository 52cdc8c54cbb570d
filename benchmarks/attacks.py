"""What attacks cost over the bare network passes, and what they find, beside foolbox and torchattacks in the same run.

The floor is steps x (forward + backward to the image) with the parameters frozen, on the whole batch. All contenders
take the same steps of the same length from a random start; they are timed in random order in every round, each against
the floor of its own round, and the median of the rounds counts. Without the peers equipoise is measured alone:

    python -m venv peers
    peers/bin/pip install -e . foolbox requests
    peers/bin/pip install --no-deps torchattacks
    peers/bin/python benchmarks/attacks.py
"""

import argparse
import importlib.util
import random
import statistics
import time

import torch

import equipoise as eq
from equipoise.attacks import APGD, PGD, MinimumNorm
from equipoise.classifiers import ResidualNet

STEPS = 20


def floor(classifier, images, labels):
    """The passes of `STEPS` steps and nothing else."""
    for _ in range(STEPS):
        x = images.clone().requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(classifier.logits(x), labels, reduction="sum")
        torch.autograd.grad(loss, x)


def contenders(classifier, images, labels, threat):
    """Name -> a function that attacks and returns the adversarial images."""
    found = {
        "equipoise PGD": lambda: PGD(steps=STEPS)(classifier, images, labels, threat).images,
        "equipoise APGD": lambda: APGD(steps=STEPS)(classifier, images, labels, threat).images,
        "equipoise MinimumNorm": lambda: (
            MinimumNorm(steps=STEPS)(classifier, images, labels, threat).images
        ),
    }
    linf = threat.norm == "linf"
    if importlib.util.find_spec("foolbox"):
        import foolbox  # pyright: ignore[reportMissingImports]

        model = foolbox.PyTorchModel(classifier, bounds=(0, 1), device="cpu")
        kind = foolbox.attacks.LinfPGD if linf else foolbox.attacks.L2PGD
        attack = kind(steps=STEPS, rel_stepsize=2.5 / STEPS)
        found["foolbox PGD"] = lambda: attack(model, images, labels, epsilons=threat.radius)[1]
    if importlib.util.find_spec("torchattacks"):
        import torchattacks  # pyright: ignore[reportMissingImports]

        step = 2.5 * threat.radius / STEPS
        pgd = (
            torchattacks.PGD(classifier, eps=threat.radius, alpha=step, steps=STEPS)
            if linf
            else torchattacks.PGDL2(classifier, eps=threat.radius, alpha=step, steps=STEPS)
        )
        apgd = torchattacks.APGD(
            classifier, norm="Linf" if linf else "L2", eps=threat.radius, steps=STEPS, n_restarts=1
        )
        found["torchattacks PGD"] = lambda: pgd(images, labels)
        found["torchattacks APGD"] = lambda: apgd(images, labels)
    return found


def measure(classifier, images, labels, threat, rounds):
    runs = {"floor": lambda: floor(classifier, images, labels)}
    runs |= contenders(classifier, images, labels, threat)
    seconds = {name: [] for name in runs}
    accuracy, failed = {}, {}
    for _ in range(rounds + 1):
        for name in random.sample(list(runs), len(runs)):
            if name in failed:
                continue
            started = time.process_time()
            try:
                found = runs[name]()
            except RuntimeError as error:  # reported, not hidden
                failed[name] = str(error).splitlines()[0]
                continue
            seconds[name].append(time.process_time() - started)
            if found is not None:
                with torch.no_grad():
                    accuracy[name] = (
                        (classifier(found.clamp(0, 1)).argmax(1) == labels).double().mean().item()
                    )
    base = statistics.median(seconds["floor"][1:])
    print(
        f"\n{classifier.name}, {threat}, {len(images)} images, {STEPS} steps, floor {base:.2f} s of CPU"
    )
    print(f"{'':24}{'ratio':>7}{'range':>16}{'robust':>9}")
    for name, reason in failed.items():
        print(f"{name:24}fails: {reason}")
    for name, times in seconds.items():
        if name in failed:
            continue
        # Against the floor of the same round, since the machine's speed drifts; the first round warms up.
        ratios = [t / floor for t, floor in zip(times[1:], seconds["floor"][1:], strict=True)]
        shown = f"{min(ratios):.2f}-{max(ratios):.2f}"
        robust = f"{accuracy[name]:.3f}" if name in accuracy else ""
        print(f"{name:24}{statistics.median(ratios):7.2f}{shown:>16}{robust:>9}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--classifier", default="", help="a spec; an untrained compact net when left out"
    )
    parser.add_argument("--data", default="", help="a spec; random images when left out")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    if settings.classifier:
        classifier = eq.load_classifier(settings.classifier)
        data = eq.load_images(settings.data).subset(settings.batch)
        batch = data.batch(range(len(data)))
        images, labels = batch.images, batch.labels
    else:
        net = ResidualNet(shape=(3, 32, 32), classes=10)
        classifier = eq.wrap(net, name="untrained compact net")
        images = torch.rand(settings.batch, 3, 32, 32)
        # Labels nothing can be broken from, so that every image costs every pass.
        net.head.bias.data[0] = 100.0
        labels = torch.zeros(settings.batch, dtype=torch.int64)
    for threat in (eq.Linf(8 / 255), eq.L2(0.5)):
        measure(classifier, images, labels, threat, settings.rounds)


if __name__ == "__main__":
    main()
