"""Probabilities of Prinz's wells from three ensembles, flattened by parts, whose trajectories all begin in one well."""

from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm
from scipy.special import logit

import bayescg as bcg
from bayescg.analysis import Quantity, multi_ensemble
from bayescg.data import Bias, Frames
from bayescg.errors import DataError
from bayescg.experiments import Row
from bayescg.truth.grid import Grid

FLATTENED = (0.0, 0.3, 0.6)
"""Parts of the potential that are taken off."""
CELLS, EVERY, LAG, TRAJECTORIES, LENGTH = 400, 0.025, 0.05, 60, 25
EDGES = (-0.5, 0.0, 0.47)
"""Between the wells."""
FOURTH = 0.6733
"""Minimum of the last well."""
WELL = bcg.systems.Prinz()


@cache
def transitions(part: float) -> tuple[Grid, np.ndarray]:
    """A fine grid, and the cumulative probabilities of where a frame is after another."""
    system: Any = bcg.systems.from_function(lambda x: (1 - part) * WELL.energy(x), dim=1, temperature_kT=1.0)
    system.box, system.periodic = WELL.box, WELL.periodic
    grid = Grid(system, (CELLS,))
    return grid, np.cumsum(expm(EVERY * grid.generator().toarray()), 1)


def flattened(seed: int) -> list[Frames]:
    """By exact transition probabilities: without the error of a time step."""
    parts = []
    for k, part in enumerate(FLATTENED):
        grid, step = transitions(part)
        rng = np.random.default_rng([seed, k, 5])
        state = np.empty((TRAJECTORIES, LENGTH), dtype=int)
        state[:, 0] = np.searchsorted(grid.axes[0], FOURTH)
        for j in range(1, LENGTH):
            state[:, j] = (step[state[:, j - 1]] < rng.random(TRAJECTORIES)[:, None]).sum(1).clip(0, CELLS - 1)
        x = (grid.axes[0][state] + grid.widths[0] * (rng.random(state.shape) - 0.5)).reshape(-1, 1)
        energies = -WELL.energy(torch.as_tensor(x)).numpy()[:, None] * np.array(FLATTENED)
        parts.append(Frames.from_numpy(
            x, unit="reduced", dt=EVERY, temperature_kT=1.0, bias=Bias(np.full(len(x), k), energies),
            trajectory=np.repeat(np.arange(TRAJECTORIES), LENGTH),
        ))  # fmt: skip
    return parts


def odds(seed: int, estimator: str = "tram", draws: int = 40) -> dict[str, Quantity]:
    parts: Any = flattened(seed + 100_000)
    try:
        answer = multi_ensemble(parts, lambda x: x[:, 0], lag=LAG, estimator=estimator, draws=draws, seed=seed)
    except DataError as error:
        return {f"odds at {x}": Quantity.of(np.full(2, np.nan), "", str(error)) for x in EDGES}
    left = {edge: answer.probability(lambda x, edge=edge: x[:, 0] < edge) for edge in EDGES}
    return {f"odds at {x}": Quantity.of(logit(p.draws), "", p.warning) for x, p in left.items()}


def exact() -> dict[str, float]:
    grid, _ = transitions(0.0)
    return {f"odds at {x}": float(logit(grid.mass[grid.axes[0] < x].sum() / grid.mass.sum())) for x in EDGES}


ABOUT = "Prinz and parts .3 and .6 taken off, 60 trajectories of 0.6 of each, all begun in the fourth well"
ROWS = [
    Row("multi-ensemble-tram", f"`multi_ensemble` by TRAM, {ABOUT}", odds, exact),
    Row(
        "multi-ensemble-mbar",
        f"`multi_ensemble` by MBAR, {ABOUT}",
        partial(odds, estimator="mbar"),
        exact,
        expect="refused",
    ),
]
