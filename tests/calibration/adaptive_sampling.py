"""Short trajectories seeded by what is known: the slow timescale of a double well at kT = 1/4, and its populations.

All begin in one well; each is 0.06 of the slow timescale long.
"""

from functools import cache, partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor

import bayescg as bcg
from bayescg.analysis import Quantity, next_seeds
from bayescg.data import Frames
from bayescg.errors import DataError
from bayescg.experiments import Row, active
from bayescg.truth.grid import Grid

CELLS, EVERY, LENGTH, WALKERS = 300, 0.2, 10, 10
EDGES = torch.linspace(-1.5, 1.5, 20)
LEFT = range(10)
"""States below -0.079."""
SYSTEM = bcg.systems.QuarticDoubleWell(temperature_kT=0.25)
ENOUGH, MOST = 0.25, 60
SURE = {"sd": ENOUGH, "rounds": MOST}


def states(x: Tensor) -> Tensor:
    return torch.bucketize(x[:, 0].double().contiguous(), EDGES.double())


@cache
def transitions() -> tuple[Grid, np.ndarray]:
    """A fine grid, and the cumulative probabilities of where a frame is after another."""
    grid = Grid(SYSTEM, (CELLS,))
    return grid, np.cumsum(expm(EVERY * grid.generator().toarray()), 1)


def trajectory(start: np.ndarray, seed: int) -> np.ndarray:
    """By exact transition probabilities: without the error of a time step."""
    grid, step = transitions()
    x = grid.axes[0]
    cell, path = int(np.abs(x - start[0]).argmin()), []
    for u in np.random.default_rng(seed).random(LENGTH):
        cell = min(int((step[cell] < u).sum()), CELLS - 1)
        path.append(x[cell])
    return np.array(path)[:, None]


def answers(frames: Frames, seed: int) -> dict[str, Quantity]:
    """By all draws, whatever else :meth:`Seeds.estimate` asks for; none where a quantity is not defined."""
    quantities = {}
    for name in ("log t1", "logit p"):
        try:
            quantities[name] = Quantity.of(next_seeds(states, frames, name, 1, region=LEFT, seed=seed).draws, "")
        except DataError as error:
            quantities[name] = Quantity.of(np.full(2, np.nan), "", str(error))
    return quantities


def seeded(seed: int, until: dict[str, float]) -> dict[str, Quantity]:
    starts = np.full((WALKERS, 1), -1.0)
    times: dict[str, Any] = {"length": LENGTH * EVERY, "frame_every": EVERY, "dt": EVERY}
    with TemporaryDirectory() as out:
        run = active(
            SYSTEM, states, "seeds", until=until, out=out, starts=starts, n=WALKERS, simulate=trajectory, seed=seed,
            **times,
        )  # fmt: skip
        return answers(run.frames, seed)


def continued(seed: int) -> dict[str, Quantity]:
    """Walkers that go on where they are, until the standard deviation is small, and nothing else."""
    ends, walks = np.full((WALKERS, 1), -1.0), []
    rng = np.random.default_rng([seed, 5])
    settings: dict[str, Any] = {"unit": "reduced", "dt": EVERY, "temperature_kT": SYSTEM.kT}
    while True:
        new = [np.concatenate([x[None], trajectory(x, int(rng.integers(2**31)))]) for x in ends]
        walks, ends = [*walks, *new], np.array([x[-1] for x in new])
        number = np.repeat(np.arange(len(walks)), LENGTH + 1)
        frames = Frames.from_numpy(np.concatenate(walks), trajectory=number, **settings)
        if next_seeds(states, frames, "log t1", 1, seed=seed).sd <= ENOUGH or len(walks) == MOST * WALKERS:
            return answers(frames, seed)


def exact(*names: str) -> dict[str, float]:
    grid = Grid(SYSTEM, (CELLS,))
    left = grid.mass[states(torch.as_tensor(grid.axes[0])[:, None]).numpy() < len(LEFT)].sum() / grid.mass.sum()
    rate = bcg.truth.spectrum(SYSTEM, 1).eigenvalues[0]
    values = {"log t1": -float(np.log(rate)), "logit p": float(np.log(left / (1 - left)))}
    return {name: values[name] for name in names or values}


ROWS = [
    Row(
        "seeds-ten-rounds",
        "`active`, double well at kT = 1/4, 10 rounds of 10 trajectories of 2 (0.06 t1) from one well",
        partial(seeded, until={"rounds": 10}),
        exact,
    ),
    Row(
        "seeds-until-sure",
        "`active`, the same until its rule stops it at an sd of 0.25; control: walkers that go on, stopped by it alone",
        partial(seeded, until=SURE),
        partial(exact, "log t1"),
        continued,
    ),
    Row(
        "seeds-population-until-sure",
        "`active`, the same until its rule stops it at an sd of 0.25 of log t1",
        partial(seeded, until=SURE),
        partial(exact, "logit p"),
    ),
]
