"""Real digits over real photographs: how much does a classifier lean on what is behind the digit?

There are two places, the photographs china and flower, and every class has one of them for its home: 0-4 china, 5-9
flower. An image is a digit over a patch of a place, which is its home with probability `correlation`.

    original      the digit over a patch of its place
    only-fg       the digit over mid-grey
    only-bg       the original's patch alone, with the digit's label
    mixed-same    the digit over another patch, of its home
    mixed-rand    the digit over another patch, of the home of a random class

These are variants of ImageNet-9, whose BG-Gap is accuracy on mixed-same minus that on mixed-rand. Only the original and
only-bg depend on `correlation`, and they do so in one way: digit i draws u_i, uniform on [0, 1), and is at home where
u_i < correlation. Its colour and the corner of each variant's patch are drawn apart from that. Sets of two correlations
thus differ only in images with u_i between them, and there only in the place.

A digit is blown up to 24 x 24 by a quadratic B-spline and drawn as a light stroke that fades into a black rim, so that
it can be read on any photograph, in one of four colours that tell nothing of the label. Its mask is exact: where it is
1 the pixel shows nothing but the digit, and where it is 0 nothing but the background. Strokes and patches are computed
in whole numbers. The construction, the homes and the colours are ours.

References:
    Noise or signal: the role of image backgrounds in object recognition (Xiao et al., 2021),
    https://arxiv.org/abs/2006.09994, for the variants
    Distributionally robust neural networks for group shifts (Sagawa et al., 2020), https://arxiv.org/abs/1911.08731,
    for places that agree with labels, and groups of both
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.images.digits import Digits
from equipoise.images.photographs import PLACES, SIDE, corners, patches
from equipoise.images.source import Example, Images
from equipoise.specs import Spec, parse_number
from equipoise.streams import digest, stream

__all__ = ["DigitsOnPhotos"]

VARIANTS = ("original", "only-fg", "only-bg", "mixed-same", "mixed-rand")
HALVES = ("0-4", "5-9")
"""The classes at home in each place."""
GREY = 128

SPREAD = (1, 3, 6, 7, 6, 3, 1)
"""Along one axis, how much ink a pixel that is blown up threefold leaves from three pixels before its middle to three
after; 9 where all its neighbours are as black."""
RIM, STROKE = 40, 972
"""Ink, of 16 * 81 = 1296 amid black, at which the black rim begins and from which the stroke has its full colour."""
COLOURS = np.array([[255, 225, 185], [225, 255, 195], [190, 230, 255], [255, 255, 255]])


@dataclass(frozen=True, repr=False, eq=False)
class DigitsOnPhotos(Images):
    """Images with shape (3, 32, 32), values k/255: ``digits-on-photos/0123`` shows row 123 of
    `sklearn.datasets.load_digits`, and so does its variant ``digits-on-photos/0123/mixed-rand``.

    An image's group says the half of the classes and the place, such as ``0-4 on china``; in a set of several variants
    it says the variant. An image of only-bg has no mask: nothing could be measured inside of it.

    Arguments:
        pixels: uint8, with shape (n, 3, 32, 32).
        masks: bool, with shape (n, 1, 32, 32).
        targets: n labels.
        names: n ids.
        kinds: n groups.
    """

    spec: str
    split: str
    classes: tuple[str, ...]
    pixels: NDArray = field(repr=False)
    masks: NDArray = field(repr=False)
    targets: NDArray = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    kinds: tuple[str, ...] = field(repr=False)

    @classmethod
    def open(cls, spec: Spec, split: str) -> "DigitsOnPhotos":
        """Draws `split`, "train" (1,197 digits) or "test" (600): the digits of the same split of ``digits``.

        Options: ``correlation``, in [0, 1], 0.95 by default; ``variant``, one of the five or some with commas between,
        ``original`` by default, or ``all``; ``seed`` of everything random, 0 by default.

        Raises:
            EquipoiseError: for any other split or option.
        """
        options = spec.only("correlation", "variant", "seed")
        correlation = _correlation(options.get("correlation", "0.95"))
        variants = _variants(options.get("variant", "original"))
        seed = _seed(options.get("seed", "0"))
        if split not in ("train", "test"):
            raise EquipoiseError(
                f"'digits-on-photos' has no split {split!r}. {did_you_mean(split, ('train', 'test'))}"
            )
        digits = Digits.open(Spec("digits", "digits"), split)
        draws = _Draws(digits, seed, correlation)
        parts = [draws.variant(variant) for variant in variants]
        return cls(
            spec=spec.text,
            split=split,
            classes=digits.classes,
            pixels=np.concatenate([pixels for pixels, _, _ in parts]),
            masks=np.concatenate([masks for _, masks, _ in parts]),
            targets=np.tile(digits.targets, len(parts)),
            names=tuple(
                name if variant == "original" else f"{name}/{variant}"
                for variant in variants
                for name in draws.names
            ),
            kinds=tuple(
                group if len(variants) == 1 else variant
                for variant, (_, _, groups) in zip(variants, parts, strict=True)
                for group in groups
            ),
        )

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Example:
        image = torch.from_numpy(self.pixels[index].astype(np.float32) / 255)
        shown = self.masks[index]
        return Example(
            image,
            int(self.targets[index]),
            self.names[index],
            self.kinds[index],
            torch.from_numpy(shown.astype(np.float32)) if shown.any() else None,
        )

    def all_labels(self) -> tuple[int, ...]:
        return tuple(self.targets.tolist())

    def groups(self) -> tuple[str | None, ...]:
        return self.kinds

    def fingerprint(self, indices: Sequence[int]) -> str:
        chosen = np.asarray(indices, dtype=np.int64)
        words = [(self.names[index], self.kinds[index]) for index in indices]
        parts = (self.targets[chosen].astype("<i8"), self.pixels[chosen], self.masks[chosen])
        return digest("digits-on-photos", words, *(part.tobytes() for part in parts))


class _Draws:
    """What is drawn for each of n digits, and the images that come of it."""

    def __init__(self, digits: Digits, seed: int, correlation: float) -> None:
        self.seed, self.test = seed, digits.split == "test"
        self.names = [f"digits-on-photos/{row:04d}" for row in digits.rows]
        self.homes = (digits.targets >= 5).astype(np.int64)
        at_home = self._uniform("place")[:, 0] < correlation
        self.places = np.where(at_home, self.homes, 1 - self.homes)
        ink = _ink(digits.pixels)[:, None]
        self.masks = ink >= RIM
        chosen = (self._uniform("colour")[:, 0] * len(COLOURS)).astype(np.int64)
        shade = (ink - RIM).clip(0, STROKE - RIM)
        strokes = COLOURS[chosen][:, :, None, None] * shade // (STROKE - RIM)
        self.strokes = strokes.astype(np.uint8)

    def variant(self, variant: str) -> tuple[NDArray, NDArray, list[str]]:
        """Its n images, their masks and their groups."""
        if variant == "only-fg":
            behind, grounds = np.full_like(self.strokes, GREY), ["grey"] * len(self.names)
        else:
            places = self._places(variant)
            patch = "original" if variant == "only-bg" else variant
            rows, columns = corners(self._uniform("patch", patch, count=3), test=self.test)
            behind = patches(places, rows, columns)
            grounds = [PLACES[place] for place in places]
        groups = [
            f"{HALVES[home]} on {ground}" for home, ground in zip(self.homes, grounds, strict=True)
        ]
        masks = self.masks & (variant != "only-bg")
        return np.where(masks, self.strokes, behind), masks, groups

    def _places(self, variant: str) -> NDArray:
        if variant == "mixed-same":
            return self.homes
        if variant == "mixed-rand":
            classes = (self._uniform("class")[:, 0] * 10).astype(np.int64)
            return (classes >= 5).astype(np.int64)
        return self.places

    def _uniform(self, *what: str, count: int = 1) -> NDArray:
        """Numbers on [0, 1), with shape (n, count), of each digit's stream for this."""
        return np.stack(
            [
                torch.rand(
                    count, dtype=torch.float64, generator=stream(self.seed, name, *what)
                ).numpy()
                for name in self.names
            ]
        )


def _ink(pixels: NDArray) -> NDArray:
    """Digits of 8 x 8 pixels in 0..16, blown up into the middle of 32 x 32: 0..1296, with shape (n, 32, 32)."""
    reach = np.zeros((8, SIDE), np.int64)
    for pixel in range(8):
        start = 2 + 3 * pixel
        reach[pixel, start : start + len(SPREAD)] = SPREAD
    return reach.T @ pixels.astype(np.int64) @ reach


def _correlation(text: str) -> float:
    value = parse_number(text, "the correlation")
    if not 0 <= value <= 1:
        raise EquipoiseError(
            f"Cannot draw digits on photos with correlation={text}: give a probability from 0 to 1, such as 0.95."
        )
    return value


def _variants(text: str) -> tuple[str, ...]:
    variants = VARIANTS if text == "all" else tuple(text.split(","))
    for variant in variants:
        if variant not in VARIANTS:
            raise EquipoiseError(
                f"'digits-on-photos' has no variant {variant!r}. {did_you_mean(variant, (*VARIANTS, 'all'))}"
            )
    if len(set(variants)) < len(variants):
        raise EquipoiseError(
            f"Cannot draw digits on photos with variant={text}: name each variant once."
        )
    return variants


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise EquipoiseError(
            f"Cannot draw digits on photos with seed={text[:40]}: give a whole number from 0."
        )
    return int(text)
