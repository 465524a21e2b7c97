"""Annealing of a fit's system from a base that knows nothing of the fit's own wells, or only their scale."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from bayescg.modelling import Draws, SystemModel, box_of

if TYPE_CHECKING:
    from bayescg.inference import Fit
    from bayescg.sampling import Annealed

__all__ = ["anneal_from_broad", "cost_of"]

_WIDER = 10.0

_ISLANDS = 25

_PILOT = 50
"""Particles that tell temperatures, step sizes and the cost of a particle."""

_MOST = 2500


def anneal_from_broad(fit: Fit, draws: Draws, budget: float, seed: int = 0) -> tuple[Annealed, Tensor, int]:
    """Sequential Monte Carlo of the system of a fit without frames, its frames in the model's coordinates,
    and the energies and forces of a trial that went ahead.

    Where it begins: in the box of a potential of :mod:`bayescg.systems`; for a molecule, from the reference density of
    its coordinates, soft torsions uniform; for any other system, from a normal density ten times as wide as the fit's
    draws in every coordinate, which finds wells within such a distance and none further away.

    Fifty particles go ahead and choose temperatures and step sizes. Then as many follow as `budget` pays for, at least
    as many again and at most 2500, on 25 islands.

    Parameters
    ----------
    fit : Fit
    draws : Draws
        Weighted ones of the fit.
    budget : float
        Energies and forces, the former ones among them; ``inf`` for as many as are of use.
    seed : int
    """
    from bayescg.sampling import smc

    assert isinstance(fit.model, SystemModel)
    system = fit.model.system.unguarded
    base = system.reference
    if base is None and box_of(system) is None:
        weight = torch.softmax(draws.log_importance.double(), 0)
        mean = weight @ draws.x.double()
        sd = (weight @ (draws.x.double() - mean).square()).sqrt()
        base = Independent(Normal(mean.float(), _WIDER * sd.float()), 1)
    options = {"base": base, "device": fit.device.type, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is not to be trusted, nor is it used for anything else
        ahead = smc(system, islands=5, particles=_PILOT // 5, seed=seed, **options)
    spent = cost_of(ahead)
    count = min(float(_MOST), max(float(_PILOT), (budget - spent) * _PILOT / spent))
    annealed = smc(
        system, islands=_ISLANDS, particles=int(count) // _ISLANDS, schedule=ahead.schedule, seed=seed + 1, **options
    )
    return annealed, torch.as_tensor(annealed.frames.positions).flatten(1), spent


def cost_of(annealed: Annealed) -> int:
    """Energies and forces that an annealing took."""
    cost = annealed.frames.provenance["cost"]
    return cost["energy_evaluations"] + cost["force_evaluations"]
