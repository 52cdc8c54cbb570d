"""The correction of the tilted method within the modes of pi: Metropolis moves, exact in the limit of many steps.

From a counterfactual of `tilted`, as many moves of `split` follow as there are steps halved, each with the exact method
in as many steps to draw x given z, and accepted or not by Metropolis. Their length rho runs through b / 2, b / 4,
b / 8, b / 16 again and again. The first move fastest and are accepted at 0.9 in 5 pixels, 0.7 in 64, 0.01 in 3072; the
last at 0.9 even there. With 18 steps these are 208 evaluations.

Wherever a move starts from a draw of pi, it ends in one, but for the error of the exact method with so many steps.
Starting elsewhere in the same mode, it is forgotten after a few moves; modes farther apart than a few rho keep the
weights that the tilted method gave them.
"""

from torch import Tensor

from equipoise.counterfactuals.exact import Exact
from equipoise.counterfactuals.method import Method, Noise
from equipoise.counterfactuals.neighbourhoods import Gaussian, Laplace, Neighbourhood
from equipoise.counterfactuals.split import accepted, split_move
from equipoise.counterfactuals.tilted import Tilted
from equipoise.diffusion import Guided

__all__ = ["Metropolis"]


class Metropolis(Method):
    """Draws with the tilted method, then moves with rejection."""

    name = "metropolis"
    neighbourhoods = (Laplace,)

    def draw(
        self, denoise: Guided, neighbourhood: Neighbourhood, x0: Tensor, noise: Noise
    ) -> Tensor:
        assert isinstance(neighbourhood, Laplace)
        x = Tilted(self.steps).draw(denoise, neighbourhood, x0, noise)
        return self.moves(denoise, neighbourhood, x, x0, noise)

    def moves(
        self, denoise: Guided, neighbourhood: Laplace, x: Tensor, x0: Tensor, noise: Noise
    ) -> Tensor:
        """Draws of pi from draws of pi `x`."""
        exact = Exact(self.steps)

        def inner(denoise: Guided, z: Tensor, rho: float, noise: Noise) -> Tensor:
            return exact.draw(denoise, Gaussian(rho), z, noise)

        for i in range(self.steps // 2):
            rho = neighbourhood.b / 2 ** (1 + i % 4)
            proposed = split_move(denoise, neighbourhood, x, x0, rho=rho, noise=noise, inner=inner)
            x = accepted(neighbourhood, x, proposed, x0, rho=rho, noise=noise)
        return x

    def evaluations(self) -> int:
        return Tilted(self.steps).evaluations() + self.move_evaluations()

    def move_evaluations(self) -> int:
        return self.steps // 2 * Exact(self.steps).evaluations()
