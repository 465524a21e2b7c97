"""Independent draws of analytic potentials, exact by rejection: starts without equilibration, and a yardstick."""

import torch
from torch import Tensor

from bayescg.arguments import check_counts
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.sampling.sampled_frames import to_frames
from bayescg.systems.analytic import AnalyticSystem
from bayescg.systems.core import System, check_system

__all__ = ["equilibrium", "equilibrium_positions"]

_CANDIDATES = 2**18
# The bound is the largest density among 2**18 points and this much more, in kT, as the top lies between the points.
_MARGIN = 0.1


def equilibrium(system: System, draws: int, *, seed: int = 0) -> Frames:
    """Independent frames from the Boltzmann distribution of an analytic potential.

    Parameters
    ----------
    system : System
        One of the potentials of :mod:`bayescg.systems` (an `AnalyticSystem`), of whatever dimension: its parts are
        drawn one by one.
    draws : int
        Number of frames.
    seed : int, default 0

    Returns
    -------
    Frames
        With energies.

    Raises
    ------
    ConfigError
        The system does not say where its probability lies.

    Notes
    -----
    Rejection sampling in the boxes of the parts, which leave out about 1e-10 of the probability.

    Examples
    --------
    >>> from bayescg.systems import Harmonic
    >>> frames = equilibrium(Harmonic((4.0,)), 10_000)
    >>> round(float(frames.positions.var()), 2)
    0.25
    """
    check_counts(draws=(draws, 1), seed=(seed, 0))
    check_system(system)
    x = equilibrium_positions(system, draws, torch.Generator().manual_seed(seed))
    return to_frames(system, x.numpy(), {"sampler": "equilibrium", "seed": seed}, energy=system.energy(x).numpy())


def equilibrium_positions(system: System, draws: int, generator: torch.Generator) -> Tensor:
    """Positions (draws, dim) of `equilibrium`, on the processor."""
    if not isinstance(system, AnalyticSystem):
        raise ConfigError(
            f"{system!r} does not say where its probability lies; draw from it by smc, hmc or langevin, or make an "
            "AnalyticSystem with a box"
        )
    return system.join([_rejection(part.system, draws, generator) for part in system.parts])


def _rejection(system: AnalyticSystem, draws: int, generator: torch.Generator) -> Tensor:
    """Draws of a system that is its own only part."""
    low, high = torch.tensor(system.box).T
    accepted: list[Tensor] = []
    count, bound = 0, None
    while count < draws:
        x = low + (high - low) * torch.rand((_CANDIDATES, system.dim), generator=generator)
        log_p = system.log_prob(x)
        bound = log_p.max() + _MARGIN if bound is None else bound
        accepted.append(x[torch.rand(_CANDIDATES, generator=generator).log() < log_p - bound])
        count += len(accepted[-1])
    return torch.cat(accepted)[:draws]
