"""Annealing of a fit's system from a base that knows nothing of the fit's own wells, or only their scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from bayescg.modelling import Draws, SystemModel
from bayescg.systems.analytic import AnalyticSystem

if TYPE_CHECKING:
    from bayescg.inference import Fit
    from bayescg.sampling import Annealed

__all__ = ["anneal_from_broad"]

_WIDER = 10.0


def anneal_from_broad(fit: Fit, draws: Draws, seed: int = 0) -> tuple[Annealed, Tensor]:
    """Sequential Monte Carlo of the system of a fit without frames, and its frames in the coordinates of the model.

    Where it begins: in the box of a potential of :mod:`bayescg.systems`, 100 islands of 20 particles; for a molecule,
    from the reference density of its coordinates, soft torsions uniform, 50 islands of 50; for any other system, from a
    normal density ten times as wide as the fit's draws in every coordinate, which finds wells within such a distance
    and none further away.

    Parameters
    ----------
    fit : Fit
    draws : Draws
        Weighted ones of the fit.
    seed : int
    """
    from bayescg.sampling import smc

    assert isinstance(fit.model, SystemModel)
    system = fit.model.system.unguarded
    base, islands, particles = system.reference, 100, 20
    if base is not None:
        islands, particles = 50, 50
    elif not (isinstance(system, AnalyticSystem) and type(system).join is AnalyticSystem.join):
        weight = torch.softmax(draws.log_importance.double(), 0)
        mean = weight @ draws.x.double()
        sd = (weight @ (draws.x.double() - mean).square()).sqrt()
        base = Independent(Normal(mean.float(), _WIDER * sd.float()), 1)
    options = {"device": fit.device.type, "seed": seed, "progress": False}
    annealed = smc(system, base=base, islands=islands, particles=particles, **options)
    return annealed, torch.as_tensor(annealed.frames.positions).flatten(1)
