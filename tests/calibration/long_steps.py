"""Maps of long time steps of Hénon and Heiles's oscillator: one step from a fresh state, and where sixty lead."""

from functools import cache, partial
from typing import Any

import numpy as np
import torch

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.data import Frames, Pairs
from bayescg.experiments import Row
from bayescg.models import ActionMap
from bayescg.sampling.long_steps.short_trajectories import propagated

DRAWS, STEPS = 60, 60
INSIDE = (0.005, 0.12)


def pairs_of(seed: int, lag: float, count: int, noise: float) -> Pairs:
    """Pairs begun anywhere on the energies from .005 to .13, the later states with noise."""
    system = bcg.systems.HenonHeiles()
    pairs = bcg.sampling.short_trajectories(system, system.shell(count, seed=seed), lag=lag)
    if not noise:
        return pairs
    frames, later = pairs.frames, (np.arange(2 * count) % 2 == 1)[:, None]
    added = noise * later * np.random.default_rng(seed).normal(size=(2, 2 * count, 2))
    return Frames.from_numpy(
        frames.positions + added[0], unit="reduced", dt=lag, temperature_kT=frames.kT,
        momenta=frames.momenta + added[1], masses=frames.masses, trajectory=frames.trajectory,
    ).lagged(lag)  # fmt: skip


@cache
def orbits(lag: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States that begin 200 orbits, ``(200, 4)``, and where they are after one step and after sixty."""
    system = bcg.systems.HenonHeiles()
    states = [system.shell(200, INSIDE, seed=98)]
    for _ in range(STEPS):
        states.append(propagated(system, *states[-1], torch.ones(2, dtype=torch.float64), lag, round(64 * lag), 6))
    first, second, *_, last = (torch.cat(state, 1) for state in states)
    return first, second, last


def of_maps(seed: int, lag: float, count: int, noise: float, naive: bool = False) -> dict[str, Quantity]:
    """Errors of a component of the step from one state, and of a position after sixty; their truth is zero."""
    fit = bcg.fit(ActionMap(bcg.systems.HenonHeiles()), pairs_of(seed, lag, count, noise), seed=seed)
    step = fit.map(draws=DRAWS)
    if naive:  # the posterior as it is, not widened
        model: Any = fit.model
        factor = model.factors[-1]
        step.varying = {k: fit.weights.point[k] + (v - fit.weights.point[k]) / factor for k, v in step.varying.items()}
    first, second, last = (states[seed % 200] for states in orbits(lag))
    q, p = first.repeat(DRAWS, 1).chunk(2, 1)
    q, p = q.contiguous(), p.contiguous()
    for number in range(STEPS):
        q, p, _, _ = step.step(q, p, 1e-12)
        if number == 0:
            one = (torch.cat([q, p], 1) - second)[:, seed % 4]
    far = (q - last[:2])[:, seed % 2]
    # in units in which draws spread by one, for maps differ in accuracy from set to set
    return {
        name: Quantity.of((values / values.std()).numpy(), unit="sd")
        for name, values in (("one step", one), ("60 steps", far))
    }


def truth() -> dict[str, float]:
    return {"one step": 0.0, "60 steps": 0.0}


def exactly(noise: float) -> str:
    return f"noise {noise:g}" if noise else "exact"


ROWS = [
    Row(
        f"action-map-{lag:g}-{count}" + ("-noisy" if noise else ""),
        f"steps of {lag:g} from {count} pairs, {exactly(noise)}, and where sixty lead",
        partial(of_maps, lag=lag, count=count, noise=noise),
        truth,
        partial(of_maps, lag=lag, count=count, noise=noise, naive=True) if count == 400 and not noise else None,
    )
    for noise in (0.0, 1e-3)
    for lag in (0.5, 1.0)
    for count in (100, 400)
]
