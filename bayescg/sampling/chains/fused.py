"""Steps of a molecule in one call of compiled C++: forces, integrator and noise together."""

from collections.abc import Sequence
from math import exp, expm1, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bayescg.systems.core import System

if TYPE_CHECKING:
    from bayescg.systems.forcefield.native import Native

__all__ = ["FusedLangevin", "kernels_of"]

_PIECE = 100_000  # steps of single chains in one call, some 50 ms, so that Ctrl-C is heard


def kernels_of(system: System, x: Tensor, compile: str) -> "Native | None":
    """The compiled kernels for coordinates like `x`; none where a system has none, or steps are to be recorded."""
    return system.kernels(x) if compile == "auto" else None


class FusedLangevin:
    """Langevin dynamics by BAOAB steps: the same numbers as `baoab` makes of the same noise, up to rounding.

    Noise is counted, not drawn: that of a chain at a step is given by a seed, the numbers of both, and nothing else. So
    it does not depend on threads, on the chains around it, or on how many steps one call makes.

    Parameters
    ----------
    kernels : Native
    thermal : Tensor, shape (dim,)
        sqrt(kT/m); its precision and device are those of everything.
    inverse_mass : Tensor, shape (dim,)
    dt, friction : float
    generator : torch.Generator
        Of which the seed is drawn.
    """

    def __init__(
        self,
        kernels: "Native",
        inverse_mass: Tensor,
        thermal: Tensor,
        dt: float,
        friction: float,
        generator: torch.Generator,
    ):
        self.kernels, self.inverse_mass, self.dt = kernels, inverse_mass, dt
        self.slowed, self.spread = exp(-friction * dt), sqrt(-expm1(-2.0 * friction * dt)) * thermal
        self.seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))

    def __call__(self, state: Sequence[Tensor], first: int, steps: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Positions, velocities and forces (chains, dim) so many steps on; `first` is the number of the first."""
        x, v, f = state
        dt = x.new_full((len(x),), self.dt)
        piece = max(1, _PIECE // len(x))
        for step in range(first, first + steps, piece):
            count = min(piece, first + steps - step)
            noise = self.slowed, self.spread, self.seed, step
            x, v, f, _ = self.kernels.move(x, v, f, dt, self.inverse_mass, count, noise)
        return x, v, f
