"""How good a denoiser is by itself: samples of it beside real images, judged by a classifier."""

from equipoise.quality.denoiser import measure_denoiser
from equipoise.quality.distances import Distances, measure_distances
from equipoise.quality.keeping import Kept, assess, read_quality
from equipoise.quality.neighbours import Nearest, find_nearest
from equipoise.quality.result import DenoiserQuality, Pair
from equipoise.quality.samples import draw_samples

__all__ = [
    "measure_denoiser",
    "DenoiserQuality",
    "Pair",
    "assess",
    "Kept",
    "read_quality",
    "draw_samples",
    "measure_distances",
    "Distances",
    "find_nearest",
    "Nearest",
]
