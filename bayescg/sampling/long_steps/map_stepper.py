"""One step of a learned map of many states at once, recorded: explicit, or implicit and solved to a tolerance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bayescg.recording.stepping import prepare
from bayescg.sampling.long_steps.fixed_point import DEPTH, begun, solved, turned
from bayescg.systems.core import System

__all__ = ["MapStepper", "Moved"]

_MOST = 100
_FARTHEST = 100.0  # of an explicit step, in spreads of positions and momenta: further on there is no way back
_ITERATIONS = 10  # of a step, about
_COMPILE = 5000
"""Iterations from which on compiling pays: of 100 states and 600 waves one took 3 ms recorded and 0.45 compiled."""


class Moved(NamedTuple):
    """Where states went.

    Attributes
    ----------
    q, p : Tensor, (n, dim)
    residual : Tensor, (n,)
        Of the implicit equations, in units of the spread of positions and momenta; 0 of an explicit map, and infinite
        where there is no state to go to, or where that step is a hundred spreads long.
    iterations : int
        Of all states at once.
    """

    q: Tensor
    p: Tensor
    residual: Tensor
    iterations: int


class MapStepper:
    """Moves states by a map, each as if it were alone.

    The iteration is that of :func:`bayescg.sampling.long_steps.fixed_point.fixed_point`. Each of its turns is recorded
    and replayed until all are solved.

    Parameters
    ----------
    step_map : FittedMap
        :meth:`bayescg.Fit.map`.
    first : FittedMap or System or None
        Where the iteration begins: at the midpoint of an explicit map's step, of one of velocity Verlet in a system, or
        of the displacement at the beginning of the step.
    q, p : Tensor, (n, dim)
        Such states as will come.
    mass : Tensor, (dim,)
    tolerance : float
        In units of the spread of positions and momenta.
    steps : int
        How many will be made, about.
    mode : str
        As of :func:`bayescg.recording.stepping.prepare`.
    """

    def __init__(
        self, step_map: Any, first: Any, q: Tensor, p: Tensor, mass: Tensor, tolerance: float, steps: int, mode: str
    ):
        self.step_map, self.tolerance = step_map, tolerance
        self.implicit, self.units = step_map.model.implicit, step_map.model.units()
        if not self.implicit:
            self.explicit = prepare(step_map.displacement, [q, p], steps, mode, "the map", _COMPILE)
            return
        begin = torch.cat([q, p], 1) / self.units
        guess = self._first_guess(first, mass)
        self.begin = prepare(
            lambda b: begun(lambda z: self._middle(b, z), guess(b)), [begin], steps, mode, "the map", _COMPILE
        )
        history = begin[..., None] * torch.linspace(0.01, 0.02, DEPTH).to(begin)
        example = (begin, begin + 0.01, begin - 0.01, history, history.flip(2))
        self.turn = prepare(
            lambda b, *state: turned(lambda z: self._middle(b, z), *state),
            example,
            _ITERATIONS * steps,
            mode,
            "the map",
            _COMPILE,
        )

    def __call__(self, q: Tensor, p: Tensor, moving: Tensor) -> Moved:
        """One step of the states that are `moving`, bool ``(n,)``; the others stay."""
        rows = moving[:, None]
        if not self.implicit:
            dq, dp = self.explicit(q, p)
            there = ((torch.cat([dq, dp], 1) / self.units).abs() < _FARTHEST).all(1) | ~moving
            residual = torch.zeros_like(dq[:, 0]).masked_fill(~there, torch.inf)
            return Moved(torch.where(rows, q + dq, q), torch.where(rows, p + dp, p), residual, 1)
        start = torch.cat([q, p], 1) / self.units
        middle, *state, size = self.begin(start)
        begin = (middle, *state, size.masked_fill(~moving, 0.0))
        middle, count, residual = solved(begin, lambda *state: tuple(self.turn(start, *state)), self.tolerance, _MOST)
        later_q, later_p = ((2 * middle - start) * self.units).chunk(2, 1)
        residual = residual.nan_to_num(torch.inf, torch.inf)
        return Moved(torch.where(rows, later_q, q), torch.where(rows, later_p, p), residual, count)

    def _middle(self, start: Tensor, z: Tensor) -> Tensor:
        """The midpoint that follows from one, in scaled units."""
        return start + 0.5 * torch.cat(self.step_map.displacement(*(z * self.units).chunk(2, 1)), 1) / self.units

    def _first_guess(self, first: Any, mass: Tensor) -> Callable[[Tensor], Tensor]:
        """From states to midpoints, both in scaled units."""
        units = self.units
        if first is None:
            return lambda start: self._middle(start, start)
        if not isinstance(first, System):

            def halfway(start: Tensor) -> Tensor:
                return start + 0.5 * torch.cat(first.displacement(*(start * units).chunk(2, 1)), 1) / units

            return halfway
        h, mass = self.step_map.lag, mass.to(units)

        def verlet(start: Tensor) -> Tensor:
            q, p = (start * units).chunk(2, 1)
            middle = p + 0.5 * h * first.forces(q)
            later = q + h * middle / mass
            return torch.cat([0.5 * (q + later), 0.5 * (p + middle + 0.5 * h * first.forces(later))], 1) / units

        return verlet
