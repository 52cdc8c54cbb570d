"""A folder of classifiers on published benchmarks: do adversarially trained ones rely on backgrounds more?

arXiv 2209.07592 asks that of twenty ImageNet networks on five benchmarks. Its protocol is not known from public text;
these are the probes here:

    rival10             noise on the object against noise on the background, two kinds; where gradients and Grad-CAM are
    salient-imagenet    the same with Gaussian noise of level 0.25, five draws, on core features and the rest (RCS)
    imagenet9           every variant, the background gap, and backgrounds that mislead
    waterbirds          every group, with a new linear head for each classifier on its fixed features
    objectnet           the drop from ImageNet, by three rules; accuracy alone without ``source=``
    digits-on-photos    like imagenet9: offline, for classifiers of digits

A classifier of ImageNet's 1,000 outputs is read as the classes of the benchmark where these say which outputs count as
theirs (`Images.outputs`), and gets a head fitted to the benchmark's training images where `heads` asks for it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from equipoise.audit import Run, audit, write_claims
from equipoise.classifiers import IMAGENET, Classifier, Net, load_classifier, name_net
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.images import Images, load_images
from equipoise.probes import Backgrounds, Groups, Probe, Regions, Saliency, Shift, Standard
from equipoise.progress import Progress
from equipoise.report import report
from equipoise.specs import Spec, parse_spec
from equipoise.studies.benchmark_claims import weigh_benchmark
from equipoise.training import transfer

__all__ = [
    "HEADS",
    "Benchmark",
    "audit_benchmarks",
    "find_models",
    "open_benchmarks",
    "spurious_models",
]

HEADS = ("waterbirds",)
"""Benchmarks that nothing can be said of without heads of their own."""

PICTURES = 48
"""Images that keep pictures for the page."""

UNPICTURED = ("objectnet",)
"""Benchmarks whose images may be shown with the frame only that an audit cuts off: pages of them have no pictures."""

BACKGROUNDS = "only_bg_t", "only-bg"
"""Variants that objects are put onto: ImageNet-9's backgrounds with the object's box filled in, and photographs."""


@dataclass(frozen=True)
class Benchmark:
    """What is audited.

    Attributes:
        kind: the first word of the spec, and the name of its folder.
        spec: as it was given; heads are fitted to its split "train".
        images: of the split "test", with every variant where there are some and none was asked for.
        probes: what is asked.
    """

    kind: str
    spec: str
    images: Images
    probes: tuple[Probe, ...]


def spurious_models(
    models: Path,
    benchmarks: Sequence[str],
    out: Path = Path("runs/benchmarks"),
    *,
    heads: Sequence[str] = HEADS,
    limit: int | None = None,
    backgrounds: int = 20,
    seed: int = 0,
    batch: int = 64,
    skip_broken: bool = False,
    device: str = "auto",
    shown: bool = True,
) -> list[tuple[Run, Path]]:
    """Audits every classifier of a folder on every benchmark, or what of it is missing, and weighs the paper's claim.

    ``out/KIND`` gets the run in ``audit``, heads in ``heads/NAME`` and the page ``report.html``.

    Arguments:
        models: folder of ``*.ckpt`` files of the robust ImageNet ResNets and of folders with a classifier.json.
        benchmarks: specs of images, of different kinds.
        out: folder.
        heads: kinds of benchmarks for which every classifier gets a new linear head on its fixed features.
        limit: audit at most so many images of each benchmark, a random sample; all when None. Heads see all of theirs.
        backgrounds: how many backgrounds each object is put onto, a random sample; all when 0.
        seed: of everything random.
        batch: images in a network call; changes speed and memory, no result.
        skip_broken: leave out images that cannot be read, and record them, instead of stopping.
        device: "auto", "cpu", "cuda" or "cuda:1".
        shown: whether to show progress.

    Returns:
        the run with its claims and the page of each benchmark, in the order they were given. Without a standard
        classifier of the same network there is no claim about an adversarially trained one.

    Raises:
        EquipoiseError: for a folder without classifiers, a classifier that cannot be read, an unknown kind of
            benchmark, one kind twice, classifiers of other classes than a benchmark's, and whatever `audit` or
            `transfer` refuses.
    """
    found = audit_benchmarks(
        models,
        benchmarks,
        out,
        heads=heads,
        limit=limit,
        backgrounds=backgrounds,
        seed=seed,
        batch=batch,
        skip_broken=skip_broken,
        device=device,
        shown=shown,
    )
    return list(found)


def audit_benchmarks(
    models: Path,
    benchmarks: Sequence[str],
    out: Path,
    *,
    heads: Sequence[str] = HEADS,
    limit: int | None = None,
    backgrounds: int = 20,
    seed: int = 0,
    batch: int = 64,
    skip_broken: bool = False,
    device: str = "auto",
    shown: bool = True,
) -> Iterator[tuple[Run, Path]]:
    """`spurious_models`, each benchmark as soon as it is done."""
    for kind in heads:
        if kind not in _PROBES:
            raise EquipoiseError(
                f"Cannot fit heads for {kind!r}: it is no kind of benchmark. {did_you_mean(kind, _PROBES)}"
            )
    opened = open_benchmarks(benchmarks, backgrounds)
    classifiers = find_models(models, shown=shown)
    for benchmark in opened:
        if benchmark.kind not in heads:
            _refuse_others(benchmark, classifiers)
    for benchmark in opened:
        folder, judged = out / benchmark.kind, classifiers
        if benchmark.kind in heads:
            train = load_images(benchmark.spec, "train")
            judged = [
                transfer(
                    classifier,
                    train,
                    folder / "heads" / classifier.name,
                    seed=seed,
                    batch=batch,
                    device=device,
                    shown=shown,
                )
                for classifier in classifiers
            ]
        run = audit(
            judged,
            benchmark.images,
            benchmark.probes,
            folder / "audit",
            limit=limit,
            seed=seed,
            batch=batch,
            pictures=0 if benchmark.kind in UNPICTURED else PICTURES,
            skip_broken=skip_broken,
            device=device,
            shown=shown,
        )
        write_claims(run.folder, "spurious", weigh_benchmark(run))
        yield run, report(run, folder / "report.html")


def find_models(folder: Path, *, shown: bool = True) -> list[Classifier]:
    """The classifiers directly below `folder`, by network, standard ones first, then along their ladders.

    Their fact `network` says what they are, so that only classifiers of one network stand on one ladder.

    Raises:
        EquipoiseError: for a folder that is missing or holds none, two of one name, and one that cannot be read.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise EquipoiseError(
            f"Cannot find classifiers in {folder}: there is no such folder. Give one with *.ckpt files, or with "
            "folders that hold a classifier.json."
        )
    specs: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        checkpoint = path.suffix == ".ckpt" and path.is_file()
        if not checkpoint and not (path / "classifier.json").is_file():
            continue
        name = path.stem if checkpoint else path.name
        if name in specs:
            raise EquipoiseError(
                f"Cannot tell two classifiers of {folder} apart: {name} and {name}.ckpt have one name. If one was "
                "converted from the other, move either away."
            )
        specs[name] = f"robust-imagenet:{path}" if checkpoint else f"local:{path}"
    if not specs:
        raise EquipoiseError(
            f"Cannot find classifiers in {folder}: it holds no *.ckpt and no folder with a classifier.json. Give the "
            "folder right above them."
        )
    found = []
    with Progress("Reading classifiers", len(specs), shown=shown) as progress:
        for name, spec in specs.items():
            classifier = load_classifier(spec)
            if isinstance(classifier.net, Net):
                classifier.facts.setdefault("network", name_net(classifier.net))
            found.append(classifier)
            progress.advance(name)
    return sorted(found, key=_place)


def _place(classifier: Classifier) -> tuple[object, ...]:
    """Where a classifier stands in tables; one that does not say what it was trained for stands last."""
    facts = classifier.facts
    radius = facts.get("radius")
    known = isinstance(radius, int | float)
    return (
        str(facts.get("network")),
        not known,
        bool(radius),
        str(facts.get("norm")),
        str(facts.get("objective")),
        radius if known else 0,
        classifier.name,
    )


def open_benchmarks(specs: Sequence[str], backgrounds: int = 20) -> list[Benchmark]:
    """Opens the benchmarks; see `spurious_models`.

    Raises:
        EquipoiseError: for none, an unknown kind, one kind twice, or what cannot be opened.
    """
    if not specs:
        raise EquipoiseError(
            f"Cannot audit on no benchmark: give at least one of {', '.join(_PROBES)}, such as imagenet9:PATH."
        )
    opened: dict[str, Benchmark] = {}
    for text in specs:
        spec = parse_spec(text)
        if spec.kind not in _PROBES:
            raise EquipoiseError(
                f"Cannot audit on {text!r}: {spec.kind!r} is none of the benchmarks {', '.join(_PROBES)}. For other "
                "images use equipoise audit."
            )
        if spec.kind in opened:
            raise EquipoiseError(
                f"Cannot audit on {text!r}: {opened[spec.kind].spec!r} is of the same kind. Give each its own --out."
            )
        varied = spec.kind in ("imagenet9", "digits-on-photos") and "variant" not in spec.options
        images = load_images(_with_variant(spec, "all") if varied else text)
        probes = tuple(_PROBES[spec.kind](spec, images, backgrounds))
        opened[spec.kind] = Benchmark(spec.kind, text, images, probes)
    return list(opened.values())


def _rival10(spec: Spec, images: Images, tried: int) -> list[Probe]:
    return [Standard(), Regions("gaussian"), Regions("l2"), Saliency()]


def _salient_imagenet(spec: Spec, images: Images, tried: int) -> list[Probe]:
    return [Standard(), Regions("gaussian", levels=(0.25,), trials=5)]


def _variants(spec: Spec, images: Images, tried: int) -> list[Probe]:
    scenes = next((variant for variant in BACKGROUNDS if variant in images.groups()), None)
    if scenes is None:
        return [Backgrounds()]
    return [Backgrounds(_with_variant(spec, scenes), tried)]


def _waterbirds(spec: Spec, images: Images, tried: int) -> list[Probe]:
    return [Groups(spec.text)]


def _objectnet(spec: Spec, images: Images, tried: int) -> list[Probe]:
    return [Shift() if "source" in spec.options else Standard()]


_PROBES: dict[str, Callable[[Spec, Images, int], list[Probe]]] = {
    "rival10": _rival10,
    "salient-imagenet": _salient_imagenet,
    "imagenet9": _variants,
    "waterbirds": _waterbirds,
    "objectnet": _objectnet,
    "digits-on-photos": _variants,
}
"""What is asked on each kind of benchmark; of how many backgrounds, where objects are put onto some."""


def _with_variant(spec: Spec, variant: str) -> str:
    """The spec with that option and its others."""
    options = spec.options | {"variant": variant}
    written = "&".join(f"{key}={quote(value, safe='/:,')}" for key, value in options.items())
    return f"{spec.text.partition('?')[0]}?{written}"


def _refuse_others(benchmark: Benchmark, classifiers: Sequence[Classifier]) -> None:
    """Stops where a classifier's outputs are not the benchmark's classes and cannot be read as these."""
    images = benchmark.images
    for classifier in classifiers:
        outputs = _outputs(classifier)
        if outputs == len(images.classes) or (outputs == IMAGENET and images.outputs is not None):
            continue
        remedy = f"Fit heads to its training images with --heads {benchmark.kind}"
        if benchmark.kind == "imagenet9" and outputs == IMAGENET:
            remedy = "Put the authors' in_to_in9.json into the benchmark's folder, or add mapping=FILE to its spec"
        raise EquipoiseError(
            f"Cannot audit {classifier.name!r} on {benchmark.spec!r}: it has {outputs:,} outputs, the images have "
            f"{len(images.classes)} classes, and it is not known which output means which. {remedy}, or keep it in "
            "another folder."
        )


def _outputs(classifier: Classifier) -> int:
    """How many logits it has."""
    return classifier.net.settings["classes"] if isinstance(classifier.net, Net) else 0
