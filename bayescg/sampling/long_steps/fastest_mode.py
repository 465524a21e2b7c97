"""The fastest mode of a system, and the time step that it allows a generating function."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bayescg.data import evenly
from bayescg.errors import ConfigError
from bayescg.systems.core import System

__all__ = ["FastestMode", "check_caustic", "fastest_mode"]

_LOOKED_AT = 16
_WIDTH = 1e-4


class FastestMode(NamedTuple):
    """A harmonic mode.

    Attributes
    ----------
    period : float
    direction : Tensor, (dim,)
        In coordinates scaled by the roots of their masses, of length 1.
    """

    period: float
    direction: Tensor

    @property
    def largest_step(self) -> float:
        """Half the period: where the generating function of the flow by midpoints ends, the caustic."""
        return 0.5 * self.period

    def described(self, system: System) -> str:
        """Which coordinates, or atoms, it moves most."""
        if system.topology is None:
            return f"of coordinate {int(self.direction.abs().argmax())} mostly"
        shares = self.direction.unflatten(0, (-1, 3)).square().sum(1)
        atoms = list(system.topology.atoms())
        moved = sorted(shares.topk(min(2, len(shares))).indices.tolist())
        return "of atoms " + " and ".join(f"{atoms[k].name} ({k})" for k in moved) + " mostly"


def fastest_mode(system: System, q: Tensor, mass: Tensor) -> FastestMode | None:
    """The fastest mode at configurations, of half of which the fastest is slower; None where nothing oscillates.

    Parameters
    ----------
    system : System
    q : Tensor, (n, dim)
        Of which some are looked at.
    mass : Tensor, (dim,)

    Examples
    --------
    >>> from bayescg.systems import FermiPastaUlam
    >>> chain, mass = FermiPastaUlam((1.0, 4.0), alpha=0.0, beta=0.0), torch.tensor([1.0, 4.0]).double()
    >>> mode = fastest_mode(chain, torch.zeros(1, 2).double(), mass)
    >>> round(mode.period, 3), mode.described(chain)
    (4.284, 'of coordinate 0 mostly')
    """
    q = q[evenly(q, _LOOKED_AT)].double()
    root = mass.to(q).sqrt()
    # by differences: energies of engines have no second derivatives
    width = _WIDTH if system.topology is None else 0.1 * _WIDTH
    moves = width * torch.eye(system.dim).to(q)
    ahead, behind = (system.forces((q[:, None] + sign * moves).flatten(0, 1)) for sign in (1, -1))
    curvature = (behind - ahead).unflatten(0, (len(q), -1)).double() / (2 * width * root[:, None] * root)
    curvature = 0.5 * (curvature + curvature.transpose(1, 2))
    squares, directions = torch.linalg.eigh(curvature)
    middle = int(squares[:, -1].argsort()[len(q) // 2])
    fastest = float(squares[middle, -1])
    return None if fastest <= 0 else FastestMode(2 * math.pi / fastest**0.5, directions[middle, :, -1])


def check_caustic(system: System, q: Tensor, mass: Tensor, lag: float) -> None:
    r"""Refuse a time step that has no generating function by midpoints.

    Of a harmonic mode it is :math:`S = (2/\omega) \tan(\omega h / 2) H`, without bound where h is half the period.

    Raises
    ------
    ConfigError
        Half the period of the fastest mode is shorter than the lag.
    """
    mode = fastest_mode(system, q, mass)
    if mode is not None and lag >= mode.largest_step:
        step, unit = mode.largest_step, " ps" if system.temperature is not None else ""
        raise ConfigError(
            f"a step of {lag:g}{unit} is beyond the caustic: the fastest mode, {mode.described(system)}, has a period "
            f"of {mode.period:.4g}{unit}, and from half of it on, {step:.4g}{unit}, no action of midpoints "
            "exists. Use a shorter lag (at best a quarter of the period), heavier hydrogens, or an explicit map"
        )
