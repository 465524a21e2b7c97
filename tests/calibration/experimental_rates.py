"""Rates of Prinz's wells from a simulation whose energy is off and averages of the truth, drawn anew each time.

The simulation is of Prinz's potential, the truth of that plus a Gaussian process. Its rates are those of the reversible
matrix of the simulation's exact transitions at the exact populations: the convention by which
:meth:`bayescg.analysis.Ensemble.kinetics` splits them. What is counted is the difference, whose truth is 0.

The Gaussian process is not that of the prior: its length is fixed, its slope at the ends free. Of truths drawn from the
prior itself, on other seeds, 185, 180, 188 and 185 of 200 intervals hold the truth; of the simulation alone about its
own rates, without any error of the energy, 182, 181, 178 and 183.
"""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.analysis.experimental.stationary_rates import reversible
from bayescg.experiments import Row
from bayescg.truth.grid import Grid

CELLS, EVERY, LAG, TRAJECTORIES, LENGTH = 400, 0.05, 0.1, 20, 400
EDGES = np.linspace(-0.9, 0.9, 13)
"""Of fourteen states; 0 is one of them."""
OBSERVED = {"mean": lambda x: x[:, 0], "square": lambda x: x[:, 0] ** 2, "wave": lambda x: torch.sin(4 * x[:, 0])}
SD = 0.05
QUANTITIES = ("log t1", "log k_ab", "log k_ba", "logit p")


def first(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def states(x: Any) -> Any:
    return torch.bucketize(torch.as_tensor(x[:, 0]).contiguous(), torch.as_tensor(EDGES))


def left(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] < 0


def right(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] >= 0


@cache
def simulated() -> tuple[Grid, np.ndarray]:
    """A fine grid, and the exact probabilities of where a frame is after another."""
    grid = Grid(bcg.systems.Prinz(), (CELLS,))
    return grid, expm(EVERY * grid.generator().toarray())


def frames_of(seed: int) -> bcg.data.Frames:
    """From equilibrium, without the error of a time step."""
    grid, step = simulated()
    rng, cumulative = np.random.default_rng([seed, 3]), np.cumsum(step, 1)
    state = np.empty((TRAJECTORIES, LENGTH), dtype=int)
    state[:, 0] = rng.choice(CELLS, TRAJECTORIES, p=grid.mass / grid.mass.sum())
    for k in range(1, LENGTH):
        state[:, k] = (cumulative[state[:, k - 1]] < rng.random(TRAJECTORIES)[:, None]).sum(1).clip(0, CELLS - 1)
    x = grid.axes[0][state] + grid.widths[0] * (rng.random(state.shape) - 0.5)
    number = np.repeat(np.arange(TRAJECTORIES), LENGTH)
    settings: dict[str, Any] = {"unit": "reduced", "dt": EVERY, "temperature_kT": 1.0}
    return bcg.data.Frames.from_numpy(x.reshape(-1, 1), trajectory=number, **settings)


def drawn_truth(seed: int) -> np.ndarray:
    """Populations of the grid's cells where the energy is off by a Gaussian process of 1 kT and length .5."""
    grid, _ = simulated()
    x, rng = grid.axes[0], np.random.default_rng([seed, 7])
    values, vectors = np.linalg.eigh(np.exp(-0.5 * (x[:, None] - x) ** 2 / 0.5**2))
    p = grid.mass * np.exp(-vectors @ (values.clip(0) ** 0.5 * rng.normal(size=CELLS)))
    return p / p.sum()


def exact(p: np.ndarray) -> dict[str, float]:
    """Of the simulation's transitions at these populations of the grid's cells."""
    grid, step = simulated()
    member = np.eye(len(EDGES) + 1)[states(grid.points)]
    over = np.linalg.matrix_power(step, round(LAG / EVERY))
    pi = member.T @ p
    matrix = reversible(member.T @ (grid.mass[:, None] * over) @ member, pi)
    below = np.arange(len(pi)) < len(EDGES) // 2 + 1
    flux = (pi[below] @ matrix[below][:, ~below]).sum() / LAG
    timescale = -LAG / np.log(np.sort(np.linalg.eigvals(matrix).real)[-2])
    share = pi[below].sum()
    values = timescale, flux / share, flux / (1 - share), share / (1 - share)
    return dict(zip(QUANTITIES, map(float, np.log(values)), strict=True))


def errors(seed: int, measured: bool = True) -> dict[str, Quantity]:
    """Of the ensemble, less the truth; not `measured`: of the simulation alone, a plain reversible Markov model."""
    p = drawn_truth(seed)
    grid, rng = simulated()[0], np.random.default_rng([seed, 9])
    data = {name: (float(p @ of(grid.points).numpy() + SD * rng.normal()), SD) for name, of in OBSERVED.items()}
    settings: dict[str, Any] = {"draws": 200, "steps": 200 if measured else 10, "seed": seed}
    ensemble = bcg.analysis.experiments(frames_of(seed), data, OBSERVED, first, **settings)
    if not measured:
        ensemble = replace(ensemble, error=0 * ensemble.error)
    found, truth = ensemble.kinetics(LAG, states, left, right), exact(p)
    share = found["population_a"].draws
    draws = [*(found[name].draws for name in ("timescale_1", "rate_ab", "rate_ba")), share / (1 - share)]
    why = found["rate_ab"].warning
    return {name: Quantity.of(np.log(d) - truth[name], "", why) for name, d in zip(QUANTITIES, draws, strict=True)}


def zeros() -> dict[str, float]:
    return dict.fromkeys(QUANTITIES, 0.0)


ROWS = [
    Row(
        "experiments-rates",
        "`Ensemble.kinetics`, Prinz, 20 trajectories of 20, energy off by a Gaussian process of 1 kT, three averages "
        "off by .05: rates and populations less those of the convention; control: the simulation alone",
        errors,
        zeros,
        partial(errors, measured=False),
    ),
]
