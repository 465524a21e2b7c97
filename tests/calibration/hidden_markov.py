"""Timescales behind four cells that cut across Prinz's wells, at a lag at which a Markov state model of them fails."""

from functools import cache

import numpy as np
from scipy.linalg import expm

import bayescg as bcg
from bayescg.analysis import Quantity, hidden_states
from bayescg.data import Frames
from bayescg.experiments import Row
from bayescg.models import HiddenMarkov
from bayescg.truth.grid import Grid

CELLS, LAG, TIME = 800, 0.02, 200.0
EDGES = (-0.4, 0.1, 0.6)
"""Between the wells, and 0.1 further."""
BLOCK = 200


@cache
def transitions() -> tuple[Grid, np.ndarray, np.ndarray]:
    """A fine grid, its probabilities, and the cumulative ones of where a frame is a lag after another."""
    grid = Grid(bcg.systems.Prinz(), (CELLS,))
    return grid, grid.mass / grid.mass.sum(), np.cumsum(expm(LAG * grid.generator().toarray()), 1)


def trajectory(seed: int, time: float = TIME) -> Frames:
    """From equilibrium, by exact transition probabilities."""
    grid, mass, step = transitions()
    rng = np.random.default_rng([seed, 11])
    count = round(time / LAG)
    state, uniform, states = rng.choice(CELLS, p=mass), rng.random(count), np.empty(count, int)
    for k in range(count):
        states[k] = state = min(int(np.searchsorted(step[state], uniform[k], side="right")), CELLS - 1)
    x = grid.axes[0][states] + grid.widths[0] * (rng.random(count) - 0.5)
    return Frames.from_numpy(x[:, None], unit="reduced", dt=LAG, temperature_kT=1.0)


def hidden(seed: int, states: int = 5) -> dict[str, Quantity]:
    """With as many hidden states as held-out stretches most often ask for."""
    fit = bcg.fit(HiddenMarkov(states=states, cells=EDGES), trajectory(seed), seed=seed, progress=False)
    timescale = hidden_states(fit, seed=seed).quantities["timescale_1"]
    return {"log t1": Quantity.of(np.log(timescale.draws), "", timescale.warning)}


def of_cells(seed: int) -> dict[str, Quantity]:
    """A Markov state model of the cells at the same lag, with a bootstrap of blocks: half as slow, and sure of it."""
    cell = np.searchsorted(EDGES, trajectory(seed).positions[:, 0])
    pair, block = cell[:-1] * 4 + cell[1:], np.arange(len(cell) - 1) // BLOCK
    counts = np.bincount(block * 16 + pair, minlength=16 * (block[-1] + 1)).reshape(-1, 4, 4)
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(counts)), 400)
    draws = np.tensordot(weights, counts + counts.transpose(0, 2, 1), 1)
    root = np.sqrt(draws.sum(2))
    kept = np.linalg.eigvalsh(draws / root[:, :, None] / root[:, None, :])[:, -2]
    return {"log t1": Quantity.of(np.log(-LAG / np.log(kept)), "")}


def exact() -> dict[str, float]:
    return {"log t1": float(-np.log(bcg.truth.spectrum(bcg.systems.Prinz(), 1).eigenvalues[0]))}


ROWS = [
    Row(
        "hidden-markov-shifted-cells",
        "`hidden_states` of `HiddenMarkov`, Prinz in 4 cells shifted by 0.1, a trajectory of 200, lag 0.02; control: "
        "Markov state model of the cells",
        hidden,
        exact,
        of_cells,
    )
]
