"""Equilibrium weights of trajectories begun anywhere: free energies between Prinz's four wells, and their slowest mode.

Trajectories are 0.6 of the slowest timescale long, and begin evenly over the range of the wells or all in one of them.
"""

from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm
from scipy.special import logit
from torch import Tensor

import bayescg as bcg
from bayescg.analysis import Quantity, average, free_energy, spectrum
from bayescg.data import Frames
from bayescg.errors import DataError
from bayescg.experiments import Row
from bayescg.truth.grid import Grid

CELLS, EVERY, LENGTH, LAG = 800, 0.01, 51, 0.05
EDGES = (-0.5, 0.0, 0.47)
"""Between the wells."""
FOURTH = 0.6733
"""Minimum of the last well."""


def steps(x: Tensor) -> Tensor:
    return torch.tanh((x - torch.linspace(-0.9, 0.9, 14)) / 0.12)


@cache
def transitions() -> tuple[Grid, np.ndarray]:
    """A fine grid, and the cumulative probabilities of where a frame is after another."""
    grid = Grid(bcg.systems.Prinz(), (CELLS,))
    return grid, np.cumsum(expm(EVERY * grid.generator().toarray()), 1)


def short(seed: int, trajectories: int, start: str) -> Frames:
    """By exact transition probabilities: without the error of a time step."""
    grid, step = transitions()
    rng, x = np.random.default_rng([seed, 11]), grid.axes[0]
    begin = rng.uniform(-1, 1, trajectories) if start == "anywhere" else np.full(trajectories, FOURTH)
    states = np.empty((trajectories, LENGTH), dtype=int)
    states[:, 0] = np.searchsorted(x, begin)
    for k in range(1, LENGTH):
        beyond = step[states[:, k - 1]] < rng.random(trajectories)[:, None]
        states[:, k] = np.minimum(beyond.sum(1), CELLS - 1)
    positions = x[states] + grid.widths[0] * (rng.random(states.shape) - 0.5)
    number = np.repeat(np.arange(trajectories), LENGTH)
    settings: dict[str, Any] = {"unit": "reduced", "dt": EVERY, "temperature_kT": 1.0}
    return Frames.from_numpy(positions.reshape(-1, 1), trajectory=number, **settings)


def refusal(error: DataError) -> Quantity:
    return Quantity.of(np.full(2, np.nan), "", str(error))


def odds(seed: int, trajectories: int, start: str) -> dict[str, Quantity]:
    frames = short(seed, trajectories, start)
    try:
        frames = frames.equilibrium(steps, LAG)
    except DataError as error:
        return {f"odds at {x}": refusal(error) for x in EDGES}
    fes = free_energy(None, frames, cv=lambda x: x[:, 0], bins=20, draws=400, seed=seed)
    return {f"odds at {x}": fes.difference((-9.0, x), (x, 9.0)) for x in EDGES}


def shares(seed: int, trajectories: int, start: str) -> dict[str, Quantity]:
    """Of the frames as they are."""
    frames = short(seed, trajectories, start)
    averages = {x: average((frames.positions[:, 0] < x) * 1.0, frames, 400, seed, "") for x in EDGES}
    return {f"odds at {x}": Quantity.of(logit(p.draws.clip(1e-9)), "kT") for x, p in averages.items()}


def slowest(seed: int, start: str, weighted: bool = True) -> dict[str, Quantity]:
    frames = short(seed, 200, start)
    try:
        frames = frames.equilibrium(steps, LAG) if weighted else frames
    except DataError as error:
        return {"eigenvalue_1": refusal(error)}
    modes = spectrum(steps, frames, LAG, modes=2, draws=400, seed=seed)
    if not weighted:  # which has no interval, as it should
        return {"eigenvalue_1": Quantity.of(modes.eigenvalues.values[:, 0], "")}
    return {"eigenvalue_1": modes.quantities["eigenvalue_1"]}


def exact_odds() -> dict[str, float]:
    grid = Grid(bcg.systems.Prinz(), (CELLS,))
    left = {x: grid.mass[grid.axes[0] < x].sum() / grid.mass.sum() for x in EDGES}
    return {f"odds at {x}": float(np.log(p / (1 - p))) for x, p in left.items()}


def exact_slowest() -> dict[str, float]:
    return {"eigenvalue_1": float(bcg.truth.spectrum(bcg.systems.Prinz(), 1).eigenvalues[0])}


STARTS = {"anywhere": "begun evenly over the wells", "fourth": "all begun in the fourth well"}

ROWS = [
    *(
        Row(
            f"equilibrium-{start}-{trajectories}",
            f"`Frames.equilibrium`, Prinz, {trajectories} trajectories of 0.5, {STARTS[start]}"
            + ("; control: no weights" if start == "fourth" else ""),
            partial(odds, trajectories=trajectories, start=start),
            exact_odds,
            partial(shares, trajectories=trajectories, start=start) if start == "fourth" else None,
        )
        for start, trajectories in (("anywhere", 200), ("anywhere", 50), ("fourth", 200))
    ),
    *(
        Row(
            f"equilibrium-slow-modes-{start}",
            f"`spectrum` of the same, 200 trajectories {STARTS[start]}"
            + ("; control: no weights" if start == "fourth" else ""),
            partial(slowest, start=start),
            exact_slowest,
            partial(slowest, start=start, weighted=False) if start == "fourth" else None,
        )
        for start in STARTS
    ),
]
