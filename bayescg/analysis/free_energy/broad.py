"""Annealing of a fit's system from a base that knows nothing of the fit's own wells, or only their scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from bayescg.errors import ConfigError
from bayescg.inference.importance import Draws, HasSystem
from bayescg.systems import System
from bayescg.systems.analytic import AnalyticSystem

if TYPE_CHECKING:
    from bayescg.features import UnboundedCoordinates
    from bayescg.inference import Fit
    from bayescg.sampling import Annealed

__all__ = ["anneal_from_broad"]

_WIDER = 10.0


def anneal_from_broad(fit: Fit, draws: Draws, seed: int = 0) -> tuple[Annealed, Tensor]:
    """Sequential Monte Carlo of the system of a fit without frames, and its frames in the coordinates of the model.

    Where it begins: in the box of a potential of :mod:`bayescg.systems`, 100 islands of 1000 particles; for a molecule,
    from standard normal unbounded coordinates, soft torsions uniform, 50 islands of 50; for any other system, from a
    normal density ten times as wide as the fit's draws in every coordinate, which finds wells within such a distance
    and none further away.

    Parameters
    ----------
    fit : Fit
    draws : Draws
        Weighted ones of the fit.
    seed : int

    Raises
    ------
    ConfigError
        The model generates coordinates that are neither its system's nor unbounded ones of a molecule.
    """
    from bayescg.sampling import smc

    assert isinstance(fit.model, HasSystem)
    system = getattr(fit.model.system, "system", fit.model.system)  # without its guard
    coordinates: UnboundedCoordinates | None = getattr(fit.model, "coordinates", None)
    if coordinates is not None:
        target = _over(system, coordinates.cpu())
        wide = torch.ones(coordinates.size)
        base = Independent(Normal(0 * wide, wide), 1)
        found = smc(target, base=base, islands=50, particles=50, seed=seed, progress=False)
    elif isinstance(system, AnalyticSystem) and type(system).join is AnalyticSystem.join:
        found = smc(system, islands=100, particles=1000, seed=seed, progress=False)
    elif draws.x.shape[1] == system.dim:
        weight = torch.softmax(draws.log_importance.double(), 0)
        mean = weight @ draws.x.double()
        sd = (weight @ (draws.x.double() - mean).square()).sqrt()
        base = Independent(Normal(mean.float().cpu(), _WIDER * sd.float().cpu()), 1)
        found = smc(system, base=base, islands=100, particles=1000, seed=seed, progress=False)
    else:
        raise ConfigError("there is no broad base for the coordinates of this model: give reference=")
    return found, torch.as_tensor(found.frames.positions).flatten(1)


def _over(system: System, coordinates: UnboundedCoordinates) -> System:
    """A molecule over its unbounded coordinates, the volume element in the energy."""

    def energy(u: Tensor) -> Tensor:
        physical = system.energy(coordinates.positions(u).flatten(-2))
        return physical - system.kT * coordinates.log_abs_det_jacobian(u)

    return System(energy, coordinates.size, temperature_kT=system.kT)
