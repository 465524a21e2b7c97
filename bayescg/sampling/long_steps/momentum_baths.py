"""Thermostats that act on momenta alone, around the steps of a map."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import torch
from torch import Tensor

__all__ = ["Bath", "friction_and_noise", "velocity_rescaling"]

Bath = Callable[[Tensor, Tensor], Tensor]
"""From momenta ``(n, dim)`` and standard normal noise of that shape to momenta."""


def friction_and_noise(mass: Tensor, kT: float, rate: float, time: float) -> Bath:
    r"""Langevin's friction and noise, exactly: :math:`p \to e^{-\gamma t} p + \sqrt{(1 - e^{-2 \gamma t}) m kT}\,R`.

    Parameters
    ----------
    mass : Tensor, (dim,)
    kT, rate, time : float
        Rate is :math:`\gamma`.
    """
    slowed = exp(-rate * time)
    spread = ((1 - slowed**2) * kT * mass).sqrt()
    return lambda p, noise: slowed * p + spread * noise


def velocity_rescaling(mass: Tensor, kT: float, rate: float, time: float, atoms: bool) -> Bath:
    r"""All momenta by one random factor, with which the kinetic energy goes to its canonical distribution, exactly.

    The factor is the square root of

    .. math:: c + (1 - c) \frac{kT}{2 K} \sum_{i=1}^{N} R_i^2 + 2 R_1 \sqrt{c (1 - c) \frac{kT}{2 K}}, \quad
        c = e^{-\gamma t},

    K the kinetic energy of N degrees of freedom.

    Parameters
    ----------
    mass : Tensor, (dim,)
    kT, rate, time : float
        Rate is :math:`\gamma`, one over the time constant of the energy.
    atoms : bool
        Whether coordinates are those of free atoms, whose common momentum is then left as it is.

    References
    ----------
    Bussi, Donadio, Parrinello, "Canonical sampling through velocity rescaling", J. Chem. Phys. 126, 014101 (2007), eq.
    (A7); the sign of the factor: Bussi, Parrinello, Comput. Phys. Commun. 179, 26 (2008).
    """
    c = exp(-rate * time)

    def rescaled(p: Tensor, noise: Tensor) -> Tensor:
        common = torch.zeros_like(p)
        if atoms:
            total = p.unflatten(1, (-1, 3)).sum(1)
            common = (total.repeat(1, p.shape[1] // 3) * mass) / mass[::3].sum()
            noise = noise[:, 3:]  # as many as there are degrees of freedom
        inner = p - common
        ratio = 0.5 * kT / (inner.square() / (2 * mass)).sum(1, keepdim=True)
        first = noise[:, :1]
        square = c + (1 - c) * ratio * noise.square().sum(1, keepdim=True) + 2 * first * (c * (1 - c) * ratio).sqrt()
        sign = torch.sign(first + (c / ((1 - c) * ratio)).sqrt())
        return common + sign * square.clamp_min(0.0).sqrt() * inner

    return rescaled
