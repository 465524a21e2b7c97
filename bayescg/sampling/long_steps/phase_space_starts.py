"""States that dynamics with momenta begin at: as somebody gives them, or drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError
from bayescg.sampling.chains.dynamics import langevin
from bayescg.sampling.chains.loop import as_positions
from bayescg.sampling.independent import equilibrium
from bayescg.systems.analytic import AnalyticSystem
from bayescg.systems.core import System

__all__ = ["phase_space_starts"]


def phase_space_starts(system: System, starts: Any, mass: Tensor, seed: int) -> tuple[Tensor, Tensor, int]:
    """Flat positions and momenta ``(n, dim)``, double precision, and evaluations of forces that it took.

    Parameters
    ----------
    system : System
    starts : int, Frames or (positions, momenta)
        So many states of the canonical ensemble, drawn; or states. Frames without momenta get some of the
        Maxwell-Boltzmann distribution.
    mass : Tensor, (dim,)
    seed : int

    Raises
    ------
    ConfigError
        These are no starts.
    DataError
        Positions and momenta do not fit each other.
    """
    cost = 0
    if isinstance(starts, int | np.integer) and not isinstance(starts, bool):
        check_counts(starts=(int(starts), 1))
        if isinstance(system, AnalyticSystem):
            starts = equilibrium(system, int(starts), seed=seed)
        else:
            starts = _sampled(system, int(starts), mass, seed)
            cost = starts.provenance["cost"]["force_evaluations"]
    momenta = None
    if isinstance(starts, Frames):
        positions, momenta = starts.gather(slice(None)), starts.momenta
    elif isinstance(starts, tuple | list) and len(starts) == 2:
        positions, momenta = starts
    else:
        raise ConfigError(f"starts are a number, Frames, or (positions, momenta); not a {type(starts).__name__}")
    q = as_positions(system, positions, None).double().contiguous()
    if momenta is None:
        noise = torch.randn(q.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return q, (system.kT * mass).sqrt() * noise, cost
    p = torch.as_tensor(np.asarray(momenta), dtype=torch.float64).flatten(1).contiguous()
    if p.shape != q.shape:
        raise DataError(f"there are positions of shape {tuple(q.shape)} and momenta of shape {tuple(p.shape)}")
    return q, p, cost


def _sampled(system: System, n: int, mass: Tensor, seed: int) -> Frames:
    """Canonical positions from Langevin dynamics, one chain each, begun at the system's structure or the origin."""
    step = 0.0005 if system.temperature is not None else 0.02 * float(mass.min()) ** 0.5
    return langevin(system, 2000, dt=step, chains=n, friction=1.0, stride=2000, seed=seed)
