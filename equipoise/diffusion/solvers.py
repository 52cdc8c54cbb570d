"""Solvers: from noise to an image along a falling list of noise levels s_0 > s_1 > ... > s_N = 0.

D(x, sigma) is any denoiser with its labels filled in; D_i its value at the current point x of level s_i. In one step
from s to s', with r = s' / s and h = log(s / s'),

    multistep   x' = r x + (1 - r) E_i,                               E_i = D_i + (h_i / 2 h_{i-1}) (D_i - D_{i-1})
    reverse     x' = r^2 x + (1 - r^2) E_i + s' sqrt(1 - r^2) n,      n standard normal
    Heun        x' = x + (s' - s) (d + d') / 2,                       d = (x - D) / s, d' the same after an Euler step

The first two evaluate D once a step, and E_0 = D_0; the last step of each takes x' = D. `multistep` and `heun` follow
the probability flow; `reverse` samples the reverse-time stochastic differential equation.

`corrected` follows the flow as well, at one evaluation a step, of a density about as wide as w. With u = 1 / s the flow
is d(u x) / du = D, and along it D is nearly linear in

    t = w / sqrt(s^2 + w^2):

far above w it is linear in 1 / s, far below in s^2, and for a normal density of width w in t itself at any s. Let m be
the mean of t over the step in u. A line through the last two values of D predicts x'; the line through D_i and the D'
found there then takes the same step again, without another evaluation:

    x* = r x + (1 - r) [D_i + (m - t_i) / (t_i - t_{i-1}) (D_i - D_{i-1})],         D' = D(x*, s'),
    x' = r x + (1 - r) [D_i + (m - t_i) / (t' - t_i) (D' - D_i)].

The first prediction takes D_0 for the line, and the last step is its prediction.

References:
    DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models (Lu et al., 2022), arXiv 2211.01095
    UniPC: a unified predictor-corrector framework for fast sampling of diffusion models (Zhao et al., 2023), arXiv
    2302.04867, whose free correction this is, in another variable
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), arXiv 2206.00364
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from equipoise.diffusion.guidance import Guided

__all__ = ["corrected", "heun", "levels", "multistep", "reverse"]


def levels(highest: float, lowest: float, steps: int, rho: float = 7.0) -> list[float]:
    """N = `steps` noise levels from `highest` to `lowest`, evenly spaced in sigma^(1 / rho), and then 0."""
    top, bottom = highest ** (1 / rho), lowest ** (1 / rho)
    return [(top + i / max(1, steps - 1) * (bottom - top)) ** rho for i in range(steps)] + [0.0]


def multistep(denoise: Guided, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Follows the probability flow: second order at one evaluation a step.

    Arguments:
        denoise: D(x, sigma).
        x: at the first noise level, with shape (B, C, H, W).
        sigmas: falling, the last one 0.
    """
    before = None
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        now = denoise(x, sigma)
        if lower == 0:
            return now
        x = torch.lerp(_extrapolate(now, before, sigmas, i), x, lower / sigma)
        before = now
    return x


def corrected(denoise: Guided, x: Tensor, sigmas: Sequence[float], width: float) -> Tensor:
    """Follows the probability flow: second order at one evaluation a step, each step corrected by the next evaluation.

    Arguments:
        denoise: D(x, sigma).
        x: at the first noise level, with shape (B, C, H, W).
        sigmas: falling, the last one 0.
        width: w, about the standard deviation of the density that is sampled.
    """
    times = [width / math.hypot(sigma, width) for sigma in sigmas]
    before, now = None, denoise(x, sigmas[0])
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        # m: the mean of w u / sqrt(1 + w^2 u^2) from u = 1 / sigma to 1 / lower.
        mean = (sigma * math.hypot(lower, width) - lower * math.hypot(sigma, width)) / (
            width * (sigma - lower)
        )
        ahead, kept, line = mean - times[i], lower / sigma, now
        if before is not None:
            line = torch.lerp(before, now, 1 + ahead / (times[i] - times[i - 1]))
        guess = torch.lerp(line, x, kept)
        if lower == 0:
            return guess
        found = denoise(guess, lower)
        line = torch.lerp(now, found, ahead / (times[i + 1] - times[i]))
        x, before, now = torch.lerp(line, x, kept), now, found
    return x


def reverse(
    denoise: Guided, x: Tensor, sigmas: Sequence[float], noise: Iterable[Tensor]
) -> Tensor:
    """Samples the reverse-time stochastic differential equation: one evaluation a step.

    Arguments:
        denoise: D(x, sigma).
        x: at the first noise level, with shape (B, C, H, W).
        sigmas: falling, the last one 0.
        noise: draws of standard normal noise like `x`, one for each step but the last.
    """
    before, draws = None, iter(noise)
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        now = denoise(x, sigma)
        if lower == 0:
            return now
        kept = (lower / sigma) ** 2
        x = torch.lerp(_extrapolate(now, before, sigmas, i), x, kept)
        x = torch.add(x, next(draws), alpha=lower * math.sqrt(1 - kept))
        before = now
    return x


def heun(
    denoise: Guided,
    x: Tensor,
    sigmas: Sequence[float],
    churn: float = 0.0,
    noise: Iterable[Tensor] = (),
) -> Tensor:
    """The second algorithm of Karras et al.: second order at two evaluations a step, 2 N - 1 in all.

    Arguments:
        denoise: D(x, sigma).
        x: at the first noise level, with shape (B, C, H, W).
        sigmas: falling, the last one 0.
        churn: before each step sigma is raised by the factor 1 + min(churn / N, sqrt(2) - 1) with fresh noise.
        noise: draws of standard normal noise like `x`, one for each step, needed when `churn` is positive.
    """
    raised, draws = 1 + min(churn / (len(sigmas) - 1), math.sqrt(2) - 1), iter(noise)
    for sigma, lower in pairwise(sigmas):
        level = sigma * raised
        if churn > 0:
            x = torch.add(x, next(draws), alpha=math.sqrt(level**2 - sigma**2))
        slope = (x - denoise(x, level)) / level
        there = torch.add(x, slope, alpha=lower - level)
        if lower > 0:
            ahead = (there - denoise(there, lower)) / lower
            there = torch.add(x, slope + ahead, alpha=(lower - level) / 2)
        x = there
    return x


def _extrapolate(now: Tensor, before: Tensor | None, sigmas: Sequence[float], i: int) -> Tensor:
    """E_i."""
    if before is None:
        return now
    share = math.log(sigmas[i] / sigmas[i + 1]) / (2 * math.log(sigmas[i - 1] / sigmas[i]))
    return torch.lerp(before, now, 1 + share)
