"""What the equations of a step say of a generating function of its midpoint: linear in its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from bayescg.nets.phase_space.particle_functions import ParticleFunctions
from bayescg.nets.phase_space.random_waves import RandomWaves

__all__ = ["ActionFunctions", "midpoint_equations", "midpoint_metric", "third_order"]

Fields = tuple[Tensor, Tensor]
Changes = Callable[[Tensor, Tensor, Tensor, Tensor], Fields]

_WHITENED = 12
"""Coordinates up to which noise is followed to midpoints: A costs as many gradients as there are, for each pair."""
_AHEAD = 3 / 20
"""Square of the part of a step over which energies differ by the curvature along v: that with which the
fourth derivative along v is right as well, in h^5."""


def third_order(energy: Callable[[Tensor], Tensor], q: Tensor, v: Tensor, masses: Tensor, h: Tensor) -> Tensor:
    r""":math:`\nabla U^T m^{-1} \nabla U + v^T U'' v`, ``(n,)``, at positions and velocities ``(n, dim)``.

    Examples
    --------
    >>> one = torch.ones(1, 1, dtype=torch.float64)
    >>> third_order(lambda x: x.square().sum(-1), one, one, one[0], 0.1 * one[0]).round(decimals=6)
    tensor([6.], dtype=torch.float64)
    """
    slope = grad(lambda x: energy(x).sum())(q)
    ahead = (_AHEAD**0.5 * h)[:, None] * v
    curved = (energy(q + ahead) + energy(q - ahead) - 2 * energy(q)) / (_AHEAD * h**2)
    return (slope.square() / masses).sum(-1) + curved


@dataclass(frozen=True)
class ActionFunctions:
    """Functions of midpoints whose weighted sum is a part of S, one set of weights for each power of the time step.

    Parameters
    ----------
    functions : RandomWaves or ParticleFunctions
    scaled : callable
        From positions and momenta to those in units in which all are of size one.
    powers : tuple of int
    lag : float
        Time step that others are measured by.
    size : Tensor
        Of S.
    units : Tensor, (2 dim,)
        Spreads of positions and momenta.
    """

    functions: RandomWaves | ParticleFunctions
    scaled: Callable[[Tensor, Tensor], Fields]
    powers: tuple[int, ...]
    lag: float
    size: Tensor
    units: Tensor

    def __call__(self, q: Tensor, p: Tensor, weight: Tensor, h: Tensor) -> Tensor:
        """Their sum ``(n,)`` at positions and momenta ``(n, dim)``, with weights ``(k,)`` and time steps ``(n,)``."""
        values = self.functions(*self._read(q, p)) @ weight.unflatten(0, (-1, self.functions.size)).T
        return self.size * (values * self._growth(h)).sum(-1)

    def slopes(self, q: Tensor, p: Tensor, h: Tensor) -> Tensor:
        """Changes of scaled states over a step that each brings about, ``(n, 2 dim, k)``."""
        along_q, along_p = self.functions.slopes(*self._read(q, p))
        slopes = torch.cat([along_p, -along_q], -1).transpose(1, 2)
        slopes = torch.cat([slopes * g[:, None, None] for g in self._growth(h).unbind(-1)], -1)
        return slopes if self.functions.reads_scaled else slopes * (self.size / self.units)[:, None]

    def _read(self, q: Tensor, p: Tensor) -> Fields:
        return self.scaled(q, p) if self.functions.reads_scaled else (q, p)

    def _growth(self, h: Tensor) -> Tensor:
        return torch.stack([(h / self.lag) ** power for power in self.powers], -1)


def midpoint_metric(changes: Callable[..., Fields], units: Tensor, q: Tensor, p: Tensor, h: Tensor) -> Tensor:
    """A = 1 - J S'' / 2 in scaled units, ``(n, 2 dim, 2 dim)``, of the `changes` of states with midpoints q, p."""
    size = q.shape[-1]

    def half(z: Tensor, h: Tensor) -> Tensor:
        return 0.5 * torch.cat(changes(z[None, :size], z[None, size:], h[None]), -1)[0]

    derivative = vmap(jacrev(half))(torch.cat([q, p], -1).detach(), h)
    return torch.eye(2 * size).to(derivative) - derivative * units / units[:, None]


def midpoint_equations(
    changes: Changes, functions: ActionFunctions, weight: Tensor, states: tuple[Tensor, ...], h: Tensor
) -> Fields:
    """What weights change of the residuals, ``(n, 2 dim, k)``, and the residuals without, ``(n, 2 dim)``.

    Noise of the later states moves a midpoint by half of it, so that the residual of the equations of a step is that
    noise times A. Divided by A (of waves of at most 12 coordinates; else A is taken as 1) it is linear in the weights.

    Parameters
    ----------
    changes : callable
        Of positions and momenta over a step, of midpoints, weights and time steps.
    functions : ActionFunctions
    weight : Tensor, (k,)
        At which A is taken.
    states : (Tensor, Tensor, Tensor, Tensor)
        Positions and momenta, earlier and later, each ``(n, dim)``.
    h : Tensor, (n,)
    """
    q, p, later_q, later_p = states
    middle = (q + later_q) / 2, (p + later_p) / 2
    change_q, change_p = changes(*middle, torch.zeros_like(weight), h)
    y = torch.cat([later_q - q - change_q, later_p - p - change_p], -1) / functions.units
    design = functions.slopes(*middle, h)
    if not functions.functions.reads_scaled or q.shape[-1] > _WHITENED:
        return design, y
    trained: Callable[..., Fields] = lambda q, p, h: changes(q, p, weight.detach(), h)  # noqa: E731
    metric = midpoint_metric(trained, functions.units, *middle, h)
    solved = torch.linalg.solve(metric, torch.cat([design, y[..., None]], -1))
    return solved[..., :-1], solved[..., -1]
