"""Rates between two sets, from few passages and from many."""

from functools import cache, partial

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor

import bayescg as bcg
from bayescg.analysis import Quantity, committor
from bayescg.data import Frames
from bayescg.experiments import Row
from bayescg.truth.grid import Grid

EVERY, CELLS = 0.05, 400


@cache
def chain() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres, probabilities and transition probabilities of the double well seen every so often."""
    grid = Grid(bcg.systems.QuarticDoubleWell(), (CELLS,))
    return grid.axes[0], grid.mass / grid.mass.sum(), expm(EVERY * grid.generator().toarray())


def truth() -> dict[str, float]:
    """Rates of the frames: between two of them a set may be entered and left unseen."""
    x, mass, step = chain()
    in_b = x > 1.0
    free = ~in_b & (x >= -1.0)
    q = in_b.astype(float)
    q[free] = np.linalg.solve(np.eye(free.sum()) - step[np.ix_(free, free)], step[np.ix_(free, in_b)].sum(1))
    flux = float(0.5 * (mass[:, None] * step * (q[:, None] - q) ** 2).sum() / EVERY)
    return {"rate_ab": flux / float(mass @ (1 - q)), "rate_ba": flux / float(mass @ q)}


def basis(x: Tensor) -> Tensor:
    return torch.tanh((x - torch.linspace(-1.2, 1.2, 9)) / 0.35)


def rates(seed: int, time: float, lag: float) -> dict[str, Quantity]:
    """From one trajectory at equilibrium."""
    x, mass, step = chain()
    rng, cumulative = np.random.default_rng([seed, 11]), np.cumsum(step, 1)
    uniform, state = rng.random(round(time / EVERY)), rng.choice(CELLS, p=mass)
    path = np.empty(len(uniform), np.float32)
    for k, level in enumerate(uniform):
        state = min(int(np.searchsorted(cumulative[state], level, side="right")), CELLS - 1)
        path[k] = x[state]
    frames = Frames.from_numpy(path[:, None], unit="reduced", dt=EVERY, temperature_kT=1.0)
    return committor(basis, frames, lambda x: x[:, 0] < -1, lambda x: x[:, 0] > 1, lag, draws=300, seed=seed).quantities


ROWS = [
    Row(
        f"rates-{time}-lag-{lag:g}",
        f"`committor`, double well, a trajectory of {time} (about {time // 4} passages), lag {lag:g}",
        partial(rates, time=time, lag=lag),
        truth,
    )
    for time in (60, 120, 400)
    for lag in (EVERY, 0.25, 1.0)
]
