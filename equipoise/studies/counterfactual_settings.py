"""What the study of counterfactuals is made with, and what of it would fail only after hours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from equipoise.counterfactuals import Sampler, check_fit, parse_neighbourhood
from equipoise.devices import choose_device
from equipoise.diffusion import Denoiser
from equipoise.errors import EquipoiseError
from equipoise.images import Images, load_images
from equipoise.norms import L2, Linf, Threat, parse_threat
from equipoise.probes import Adversarial, load_probe
from equipoise.training import Recipe

__all__ = ["Settings"]

DIGITS = Recipe(net="mlp", epochs=100, rate=4e-3)
"""The recipe of the embedded digits' classifiers."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the study is made with; the defaults are for the embedded digits on two CPU cores.

    Arguments:
        data: spec of the images; the split "train" is used, and "test" where some are attacked.
        norm: of the adversary, "l2" or "linf".
        radii: of the ladder, in units of images in [0, 1], rising, the first one "0".
        linf_radii: of further rungs, trained for Linf, rising from above 0; for the norm "l2" alone.
        recipe: of every classifier.
        attack_steps: of projected gradient descent in each training step.
        denoiser: spec of a denoiser to use; one is trained when empty.
        denoiser_steps: of that training; what suits the size of the images when None.
        samples: of the denoiser, which say how good it is by itself, beside images of the split "test" if there is one.
        width: of the neighbourhoods, such as "0.3", in network units, or "18%" of the data's L2 size.
        guidance: of the sampler.
        originals: how many images get counterfactuals, a random sample.
        published_originals: how many of them also in the published arm, which takes five times as many passes.
        other_widths: at which exact counterfactuals are drawn again, with the usual guidance.
        other_guidances: likewise, at the usual width.
        other_originals: how many of the originals for each of these.
        per_class: counterfactuals of each image and class.
        attacked: how many test images, a random sample, the whole trade-off is measured on; none when 0.
        threats: that they are attacked within, such as "l2:0.5" or "l2:0.5?budget=standard"; the middle radius of the
            ladder and the smallest of `linf_radii` when empty.
        far: L2 radius of adversarial examples beyond any change of training; twice the largest of these when empty.
        test_originals: how many of the attacked images get counterfactuals.
        seed: of everything random.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """

    data: str = "digits"
    norm: str = "l2"
    radii: tuple[str, ...] = ("0", "0.25", "0.5", "1", "1.5")
    linf_radii: tuple[str, ...] = ()
    recipe: Recipe = DIGITS
    attack_steps: int = 7
    denoiser: str = ""
    denoiser_steps: int | None = None
    samples: int = 1000
    width: str = "18%"
    guidance: float = 2.0
    originals: int = 300
    published_originals: int = 100
    other_widths: tuple[str, ...] = ()
    other_guidances: tuple[float, ...] = ()
    other_originals: int = 100
    per_class: int = 2
    attacked: int = 0
    threats: tuple[str, ...] = ()
    far: str = ""
    test_originals: int = 100
    seed: int = 0
    device: str = "auto"

    def ladder(self) -> list[Threat]:
        """What the rungs are trained for: those of the main norm, from radius 0, then those for Linf.

        Raises:
            EquipoiseError: for radii that do not rise from 0, or Linf radii beside the norm "linf" or that do not rise
                from above 0.
        """
        main = [parse_threat(f"{self.norm}:{radius}") for radius in self.radii]
        if len(main) < 2 or main[0].radius != 0 or not _rising(main):
            raise EquipoiseError(
                f"The study needs at least two radii that rise from 0, not {' '.join(self.radii)}."
            )
        if self.linf_radii and self.norm == "linf":
            raise EquipoiseError(
                f"The study trains for Linf at {' '.join(self.radii)} already: add {' '.join(self.linf_radii)} to "
                "these radii, or take the norm l2 beside linf_radii."
            )
        further = [parse_threat(f"linf:{radius}") for radius in self.linf_radii]
        if not _rising([Linf(0), *further]):
            raise EquipoiseError(
                f"The study needs linf_radii that rise from above 0, not {' '.join(self.linf_radii)}."
            )
        return [*main, *further]

    def attacks(self) -> list[Adversarial]:
        """The adversarial probes of the trade-off.

        Raises:
            EquipoiseError: for a threat that cannot be read.
        """
        usual = [parse_threat(f"{self.norm}:{self.radii[len(self.radii) // 2]}")]
        usual += [parse_threat(f"linf:{radius}") for radius in self.linf_radii[:1]]
        asked = [load_probe(f"adversarial:{threat}") for threat in self.threats or usual]
        return [probe for probe in dict.fromkeys(asked) if isinstance(probe, Adversarial)]

    def beyond(self, shape: Sequence[int]) -> L2:
        """The threat of examples beyond any change of training, of images of the shape (C, H, W).

        Raises:
            EquipoiseError: when `far` is not beyond them.
        """
        widest = math.sqrt(math.prod(shape))
        reach = max(
            threat.radius * (widest if isinstance(threat, Linf) else 1) for threat in self.ladder()
        )
        if not self.far:
            return L2(float(f"{2 * reach:.2g}"))
        radius = parse_threat(f"l2:{self.far}").radius
        if radius <= reach:
            raise EquipoiseError(
                f"The study needs far examples beyond every change of training, which reaches {reach:.3g} in L2: give "
                f"more than far={self.far}."
            )
        return L2(radius)

    def others(self) -> dict[str, tuple[str, float]]:
        """Width and guidance of each other setting, by the name of its set."""
        widths = [width for width in dict.fromkeys(self.other_widths) if width != self.width]
        guidances = [g for g in dict.fromkeys(self.other_guidances) if g != self.guidance]
        return {
            f"width-{width.replace('%', '-percent')}": (width, self.guidance) for width in widths
        } | {f"guidance-{g:g}": (self.width, g) for g in guidances}

    def check(self, train: Images, denoiser: Denoiser | None) -> Images | None:
        """Refuses what would fail only after hours of training.

        Returns:
            the test images, where some are attacked.

        Raises:
            EquipoiseError: for radii that do not rise, a width or threat that cannot be read, numbers out of range, a
                denoiser for other images, or test images that there are not.
        """
        choose_device(self.device)
        self.ladder()
        for name, least in (("other_originals", 10), ("attacked", 0), ("test_originals", 0)):
            if getattr(self, name) < least:
                raise EquipoiseError(
                    f"The study needs {name} of at least {least}, not {getattr(self, name)}."
                )
        scale = 1.0 if denoiser is None else denoiser.scale
        for width, guidance in ((self.width, self.guidance), *self.others().values()):
            neighbourhood = parse_neighbourhood(f"gaussian:{width}", scale)
            if denoiser is not None:
                check_fit(train, Sampler(denoiser, neighbourhood, guidance=guidance))
        return self._test(train) if self.attacked else None

    def _test(self, train: Images) -> Images:
        """The test images, and what is asked about them read once."""
        self.attacks()
        self.beyond(train.shape)
        try:
            test = load_images(self.data, "test")
        except EquipoiseError as error:
            raise EquipoiseError(
                f"The study attacks {self.attacked} test images. {error} Without a split test leave attacked at 0."
            ) from error
        # A single Parquet file is whatever split it is asked for.
        if test.fingerprint(range(len(test))) == train.fingerprint(range(len(train))):
            raise EquipoiseError(
                f"The study attacks {self.attacked} test images, and those of {self.data!r} are its training images: "
                "give a folder with train.parquet and test.parquet, or leave attacked at 0."
            )
        return test


def _rising(threats: Sequence[Threat]) -> bool:
    return all(a.radius < b.radius for a, b in pairwise(threats))
