"""Oracles: what independent eyes see in a counterfactual, and a denoiser as one of them.

An ensemble gives the average of its members' probabilities. It should be trained for this alone: a classifier that is
also audited would mark its own homework.

`DiffusionClassifier` turns a class-conditional denoiser into a classifier: with levels s_t and noise n_t shared by all
classes, the logit of class c is

    z_c = -(1 / T) sum_t (s_t^-2) |D(x + s_t n_t, s_t, c) - x|^2 / 2,

a Monte Carlo estimate of the evidence lower bound of log p(x | c) over the levels where classes differ.

References:
    Your diffusion model is secretly a zero-shot classifier (Li et al., 2023), arXiv 2303.16203
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.diffusion import Denoiser, to_network_units
from equipoise.streams import content_ids, stream

__all__ = ["DiffusionClassifier", "Opinion", "ask"]


@dataclass(frozen=True)
class Opinion:
    """What the oracles say of B images: the class they read, and their probability of each class, with shape (B, K)."""

    prediction: Tensor
    probability: Tensor


@torch.no_grad()
def ask(oracles: Sequence[Classifier], images: Tensor) -> Opinion:
    """The average opinion of the oracles on images in [0, 1] with shape (B, C, H, W)."""
    probability = torch.stack([oracle(images).float().softmax(1) for oracle in oracles]).mean(0)
    return Opinion(probability.argmax(1), probability)


@dataclass(frozen=True)
class DiffusionClassifier:
    """A denoiser that tells classes apart.

    Arguments:
        denoiser: class-conditional.
        draws: noisy views of each image, at levels evenly spaced in log s between the two ends.
        lowest: smallest noise level, in network units.
        highest: largest one.
    """

    denoiser: Denoiser
    draws: int = 16
    lowest: float = 0.1
    highest: float = 2.0

    @torch.no_grad()
    def __call__(self, images: Tensor, ids: Sequence[str] | None = None) -> Tensor:
        """Logits with shape (B, K) of images in [0, 1]; K times `draws` evaluations each, where the denoiser is."""
        x = to_network_units(images).to(self.denoiser.device)
        count = len(self.denoiser.classes)
        streams = [stream("diffusion classifier", name) for name in ids or content_ids(images)]
        logits = x.new_zeros(len(x), count)
        for t in range(self.draws):
            share = t / max(1, self.draws - 1)
            sigma = self.highest ** (1 - share) * self.lowest**share
            noise = torch.stack([torch.randn(x.shape[1:], generator=g) for g in streams])
            noisy = x + sigma * noise.to(x)
            for c in range(count):
                miss = (self.denoiser(noisy, sigma, c) - x).flatten(1).square().sum(1)
                logits[:, c] -= miss / (2 * sigma**2 * self.draws)
        return logits.to(images.device)
