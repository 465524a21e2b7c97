"""Pairs of states a long time step apart: what maps are learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts, check_positive
from bayescg.data import Pairs, evenly
from bayescg.errors import ConfigError, SimulationError
from bayescg.recording.stepping import prepare
from bayescg.sampling.chains.hamiltonian import velocity_verlet
from bayescg.sampling.long_steps.phase_space_starts import phase_space_starts
from bayescg.sampling.sampled_frames import masses, to_frames
from bayescg.systems.core import System, check_system
from bayescg.units import plain

__all__ = ["propagated", "short_trajectories"]

_MOST = 32_768
_COMPILE = 20_000  # evaluations of forces, from which on compiling pays
_PROBED = 16
_SIXTH = (0.784513610477560, 0.235573213359357, -1.17767998417887)
"""Yoshida's solution A of order six, by halves."""
_WEIGHTS = {2: (1.0,), 6: (*_SIXTH, 1 - 2 * sum(_SIXTH), *_SIXTH[::-1])}


def short_trajectories(
    system: System,
    starts: Any = 1000,
    *,
    lag: float | Sequence[float],
    dt: float | None = None,
    accuracy: float = 1e-11,
    seed: int = 0,
) -> Pairs:
    r"""Follow Newton's equations from many states for one lag time each: pairs of states ``lag`` apart.

    Parameters
    ----------
    system : System
    starts : int, Frames or (positions, momenta)
        So many states of the canonical ensemble, drawn; or states, positions of shape ``(n, dim)`` or
        ``(n, atoms, 3)`` and momenta alike. Frames without momenta get some of the Maxwell-Boltzmann distribution.
    lag : float, sequence of float, or openmm.unit.Quantity
        Time from the one to the other, ps for molecules. Of several, multiples of the shortest, every trajectory gives
        one pair each.
    dt : float or openmm.unit.Quantity, optional
        Steps of velocity Verlet, which divide the lag: pairs are then those of a simulation with such steps. Default:
        as small steps of an integrator of sixth order as `accuracy` asks for, of the exact dynamics.
    accuracy : float
        Largest error of a coordinate, relative to the largest of its kind.
    seed : int

    Returns
    -------
    Pairs
        With momenta and masses. ``frames.provenance["cost"]`` counts evaluations of forces, and
        ``frames.provenance["accuracy"]`` holds the error, measured at half of the steps.

    Raises
    ------
    ConfigError
        A number is out of range, or the system has no states of its own to start from.
    DataError
        Positions and momenta do not fit each other or the system.
    SimulationError
        A trajectory leaves the range of floating-point numbers, or no step is small enough.

    References
    ----------
    H. Yoshida, "Construction of higher order symplectic integrators", Phys. Lett. A 150, 262 (1990), solution A.

    Examples
    --------
    >>> from bayescg.systems import FermiPastaUlam
    >>> pairs = short_trajectories(FermiPastaUlam(), 100, lag=0.8)
    >>> len(pairs), pairs.lag, pairs.frames.masses
    (100, 0.8, array([1., 2., 4., 8.]))
    """
    check_system(system)
    lags, dt = np.unique(np.atleast_1d(plain(lag, "ps")).astype(np.float64)), plain(dt, "ps")
    check_positive(lag=lags[0], accuracy=accuracy, **({} if dt is None else {"dt": dt}))
    shortest, places = float(lags[0]), np.rint(lags / lags[0]).astype(int)
    if not np.allclose(places * shortest, lags, rtol=1e-6):
        raise ConfigError(f"lag={lags.tolist()}: every one must be a multiple of the shortest")
    check_counts(seed=(seed, 0))
    mass = masses(system)
    q, p, cost = phase_space_starts(system, starts, mass, seed)
    if dt is not None:
        order, steps, error = 2, round(shortest / dt), None
        if steps < 1 or abs(steps * dt / shortest - 1) > 1e-6:
            raise ConfigError(f"dt={dt:g} does not divide lag={shortest:g}: use {shortest / max(1, steps):g}")
    else:
        order, (steps, error) = 6, _steps_for(system, q, p, mass, shortest, accuracy)
    states = [(q, p)]
    for _ in range(places[-1]):
        states.append(propagated(system, *states[-1], mass, shortest, steps, order))
    evaluations = len(q) * (steps * len(_WEIGHTS[order]) + 1) * int(places[-1])
    if bad := (~torch.cat(states[-1], 1).isfinite().all(1)).nonzero().flatten().tolist():
        raise SimulationError(
            f"the trajectory from start {bad[0]} leaves the range of floating-point numbers ({len(bad)} of {len(q)} "
            "do): use a smaller dt, or other starts"
        )
    positions, momenta = (torch.stack(parts, 1).flatten(0, 1).numpy() for parts in zip(*states, strict=True))
    frames = to_frames(
        system,
        positions,
        {
            "sampler": "short_trajectories", "order": order, "steps": steps, "accuracy": error, "seed": seed,
            "cost": {"force_evaluations": evaluations + cost},
        },
        dt=shortest,
        trajectory=np.repeat(np.arange(len(q)), len(states)),
        momenta=momenta,
        masses=mass.numpy() if system.topology is None else mass.numpy()[::3],
    )  # fmt: skip
    first = len(states) * np.repeat(np.arange(len(q)), len(lags))
    return Pairs(first, first + np.tile(places, len(q)), float(lags[-1]), frames)


def propagated(
    system: System, q: Tensor, p: Tensor, mass: Tensor, time: float, steps: int, order: int
) -> tuple[Tensor, Tensor]:
    """States ``(n, dim)`` after a time, by so many steps of a composition of velocity Verlet of this order."""
    weights = [weight * time / steps for weight in _WEIGHTS[order]]
    verlet = velocity_verlet(system.forces, 1 / mass)

    def step(*state: Tensor) -> Sequence[Tensor]:
        for dt in weights:
            state = tuple(verlet(*state, dt))
        return state

    q = q.contiguous()
    state: Sequence[Tensor] = q, (p / mass).contiguous(), system.forces(q)
    run = prepare(step, state, steps, "auto", compile_from=_COMPILE // len(weights))
    for _ in range(steps):
        state = run(*state)
    return state[0], state[1] * mass


def _steps_for(system: System, q: Tensor, p: Tensor, mass: Tensor, lag: float, accuracy: float) -> tuple[int, float]:
    """Steps of order six that are accurate enough, tried on some of the states, and what their half is wrong by."""
    rows = evenly(q, _PROBED)
    q, p = q[rows], p[rows]
    steps, before = 4, propagated(system, q, p, mass, lag, 4, 6)
    size = [max(a.abs().max(), b.abs().max()) for a, b in zip((q, p), before, strict=True)]  # states may be at rest
    while steps < _MOST:
        steps *= 2
        after = propagated(system, q, p, mass, lag, steps, 6)
        error = max(float((a - b).abs().max() / s) for a, b, s in zip(after, before, size, strict=True))
        if error < accuracy * 2**5 or error < 1e-13:  # the finer is 2^6 times more accurate than their difference
            return steps, error / 2**6
        before = after
    raise SimulationError(
        f"{_MOST} steps of order six within lag={lag:g} do not reach an accuracy of {accuracy:g}: energies may not be "
        "smooth, or float32; use a larger accuracy, or dt= for plain velocity Verlet"
    )
