"""What annealing gives: weighted frames, the partition function, and averages with their errors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from bayescg.data import Frames

__all__ = ["Annealed", "Estimate", "Schedule"]


class Estimate(NamedTuple):
    """A number and its standard error."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Schedule:
    """The temperatures of an annealing and how particles moved at each: give it to another run.

    Attributes
    ----------
    betas : numpy.ndarray, shape (stages,)
        Increasing to 1; the base is at 0.
    step_sizes : numpy.ndarray, shape (stages, moves)
        In units of `scales`.
    scales : numpy.ndarray, shape (stages, dim)
        Widths of the coordinates.
    """

    betas: np.ndarray
    step_sizes: np.ndarray
    scales: np.ndarray


@dataclass(frozen=True)
class Annealed:
    r"""Weighted frames of a system, and its partition function.

    Attributes
    ----------
    frames : Frames
        With importance weights and energies, without particles of weight 0; of `smc`, `trajectory` is the island.
        `provenance` has the cost.
    log_z : float
        Logarithm of :math:`\int e^{-U(x) / kT} dx`, of which the mean over islands of Z is unbiased.
    log_z_sd : float
        Its standard error, from the spread of the islands.
    log_z_islands : numpy.ndarray, shape (islands,)
    effective_islands : float
        How many equal islands theirs are worth, :math:`(\sum Z)^2 / \sum Z^2`. Below half of them, or
        50, errors are not to be trusted, and a warning says so.
    schedule : Schedule
    acceptance : numpy.ndarray, shape (stages,)
        Of the moves at each temperature.
    islands : numpy.ndarray, shape (n,)
        Island of each frame.
    """

    frames: Frames
    log_z: float
    log_z_sd: float
    log_z_islands: np.ndarray = field(repr=False)
    effective_islands: float
    schedule: Schedule = field(repr=False)
    acceptance: np.ndarray = field(repr=False)
    islands: np.ndarray = field(repr=False)

    def expectation(self, observable: Callable[[torch.Tensor], Any]) -> Estimate:
        """Equilibrium average of an observable, with the standard error that the islands' spread gives.

        Parameters
        ----------
        observable : callable
            From positions (n, dim), or (n, atoms, 3) of molecules, to (n,).

        Returns
        -------
        Estimate
            ``mean`` and ``sd``.

        Examples
        --------
        >>> import bayescg as bcg
        >>> drawn = bcg.sampling.smc(bcg.systems.DoubleWell(), particles=50)
        >>> left = drawn.expectation(lambda x: x[:, 0] < 0.16745)
        >>> abs(left.mean - 0.991654) < 4 * left.sd < 0.02
        True
        """
        with torch.no_grad():
            values = observable(torch.as_tensor(self.frames.gather(slice(None))))
        values, w = torch.as_tensor(values).double().cpu().numpy(), np.asarray(self.frames.weights)
        mean, islands = float(w @ values / w.sum()), len(self.log_z_islands)
        share = np.bincount(self.islands, w * (values - mean), minlength=islands) * islands / w.sum()
        return Estimate(mean, float(share.std(ddof=1) / np.sqrt(islands)))
