"""Effective dynamics of one variable: timescales, populations and diffusion, at short lags and at long ones."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm

import bayescg as bcg
from bayescg.analysis import Quantity, effective_dynamics
from bayescg.data import Bias, Frames
from bayescg.experiments import Row
from bayescg.models import EffectiveDynamics
from bayescg.truth.grid import Grid

CELLS = 800


def tilted(x: torch.Tensor) -> torch.Tensor:
    return 3 * (x[:, 0] ** 2 - 1) ** 2 + 0.3 * x[:, 0]


def faster_to_the_right(x: torch.Tensor) -> torch.Tensor:
    return (0.8 * torch.tanh(2 * x[:, 0])).exp()


@dataclass(frozen=True)
class Case:
    """A system on a line, its diffusion, and how long a trajectory is."""

    system: Any
    diffusion: Callable[[torch.Tensor], torch.Tensor] | None
    time: float


@cache
def case(name: str) -> Case:
    if name == "prinz":
        return Case(bcg.systems.Prinz(), None, 100.0)
    box: Any = bcg.systems.from_function(tilted, dim=1, temperature_kT=1.0)
    return Case(bcg.truth.reduce.analytic(box, [(-2.0, 2.0)], None), faster_to_the_right, 300.0)


@cache
def cells(name: str) -> tuple[Grid, np.ndarray]:
    """A fine grid and its probabilities."""
    grid = Grid(case(name).system, (CELLS,), case(name).diffusion)
    return grid, grid.mass / grid.mass.sum()


@cache
def transitions(name: str, lag: float) -> np.ndarray:
    """Cumulative probabilities of where a frame is after another."""
    return np.cumsum(expm(lag * cells(name)[0].generator().toarray()), 1)


def trajectory(name: str, lag: float, seed: int) -> Frames:
    """From equilibrium, by exact transition probabilities."""
    (grid, mass), step = cells(name), transitions(name, lag)
    rng = np.random.default_rng([seed, 5])
    count = round(case(name).time / lag)
    state, uniform, states = rng.choice(CELLS, p=mass), rng.random(count), np.empty(count, int)
    for k in range(count):
        states[k] = state = min(int(np.searchsorted(step[state], uniform[k], side="right")), CELLS - 1)
    x = grid.axes[0][states] + grid.widths[0] * (rng.random(count) - 0.5)
    return Frames.from_numpy(x[:, None], unit="reduced", dt=lag, temperature_kT=1.0)


def fitted(seed: int, name: str, lag: float) -> dict[str, Quantity]:
    pairs = trajectory(name, lag, seed).lagged(lag)
    fit = bcg.fit(EffectiveDynamics(), pairs, seed=seed, progress=False)
    return answers(effective_dynamics(fit, draws=200, seed=seed))


def answers(found: Any) -> dict[str, Quantity]:
    left, diffusion = found.population((-9.0, 0.0)).draws, found.quantities["mean_diffusion"]
    return {
        "log t1": Quantity.of(np.log(found.timescales.values[:, 0]), ""),
        "log odds": Quantity.of(np.log(left / (1 - left)), ""),
        "log D": Quantity.of(np.log(diffusion.draws), "", diffusion.warning),
    }


def euler(seed: int, name: str, lag: float) -> dict[str, Quantity]:
    """D as a step of Euler and Maruyama takes it, the same everywhere and unmoved by forces: and far too sure of it."""
    x = trajectory(name, lag, seed).positions[:, 0].astype(float)
    square = np.square(np.diff(x)) / (2 * lag)
    draws = np.random.default_rng(seed).dirichlet(np.ones(len(square)), 400) @ square
    return {"log D": Quantity.of(np.log(draws), "")}


CENTRES, SPRING = np.linspace(-1.5, 1.5, 11), 20.0


@cache
def window(k: int, lag: float) -> tuple[Grid, np.ndarray, np.ndarray]:
    """Of a quartic double well of kT 1/4 under a spring, a grid, its probabilities and transitions."""
    well: Any = bcg.systems.QuarticDoubleWell(temperature_kT=0.25)
    pulled: Any = bcg.systems.from_function(
        lambda x: well.energy(x) + 0.25 * SPRING / 2 * (x[:, 0] - CENTRES[k]) ** 2, dim=1, temperature_kT=0.25
    )
    box = bcg.truth.reduce.analytic(pulled, [(CENTRES[k] - 1.3, CENTRES[k] + 1.3)], None)
    grid = Grid(box, (400,), None)
    return grid, grid.mass / grid.mass.sum(), np.cumsum(expm(lag * grid.generator().toarray()), 1)


def umbrella(seed: int, lag: float, walkers: int = 4, count: int = 50) -> Frames:
    """Windows along a barrier of 4 kT, in each some short trajectories from its own equilibrium; none crosses."""
    rng, paths = np.random.default_rng([seed, 9]), []
    for k in range(len(CENTRES)):
        grid, mass, step = window(k, lag)
        state = rng.choice(400, p=mass, size=walkers)
        for uniform in rng.random((count, walkers)):
            state = (step[state] < uniform[:, None]).sum(1).clip(max=399)
            paths.append(grid.axes[0][state] + grid.widths[0] * (rng.random(walkers) - 0.5))
    z = np.stack(paths).reshape(len(CENTRES), count, walkers).transpose(0, 2, 1)
    number = np.repeat(np.arange(len(CENTRES) * walkers), count)
    bias = Bias(number // walkers, SPRING / 2 * (z.reshape(-1, 1) - CENTRES) ** 2)
    settings = {"unit": "reduced", "dt": lag, "temperature_kT": 0.25, "trajectory": number, "bias": bias}
    return Frames.from_numpy(z.reshape(-1, 1), **settings)


def unbiased(seed: int, lag: float) -> dict[str, Quantity]:
    fit = bcg.fit(EffectiveDynamics(), umbrella(seed, lag).lagged(lag), seed=seed, progress=False)
    return answers(effective_dynamics(fit, draws=200, seed=seed))


def barrier() -> dict[str, float]:
    rate = bcg.truth.spectrum(bcg.systems.QuarticDoubleWell(temperature_kT=0.25), 1).eigenvalues[0]
    return {"log t1": float(-np.log(rate)), "log odds": 0.0, "log D": float(np.log(0.25))}


@cache
def truth(name: str) -> dict[str, float]:
    grid, mass = cells(name)
    rate = bcg.truth.spectrum(case(name).system, 1, diffusion=case(name).diffusion).eigenvalues[0]
    d = np.ones(CELLS) if case(name).diffusion is None else faster_to_the_right(grid.points).numpy()
    left = mass[grid.axes[0] < 0].sum()
    values = {"log t1": -np.log(rate), "log odds": np.log(left / (1 - left)), "log D": mass @ np.log(d)}
    return {name: float(value) for name, value in values.items()}


def displaced(name: str) -> dict[str, float]:
    return {"log D": truth(name)["log D"]}


LAGS = {"prinz": (0.005, 0.02, 0.1), "tilted": (0.02, 0.05, 0.2)}
ABOUT = {"prinz": "Prinz, a trajectory of 100", "tilted": "tilted double well, D from 0.45 to 2.2, a trajectory of 300"}
ROWS = (
    [
        Row(
            f"effective-dynamics-{name}-{lag:g}",
            f"`EffectiveDynamics`, {ABOUT[name]}, lag {lag:g}",
            partial(fitted, name=name, lag=lag),
            partial(truth, name),
        )
        for name, lags in LAGS.items()
        for lag in lags
    ]
    + [
        Row(
            "effective-dynamics-umbrella",
            "`EffectiveDynamics`, 11 windows of umbrella sampling along a barrier, t1 = 33.6, 4 times 5 each, lag 0.1",
            partial(unbiased, lag=0.1),
            barrier,
        )
    ]
    + [
        Row(
            f"squared-displacements-{name}-{lags[0]:g}",
            f"squared displacements over twice the lag, {ABOUT[name]}, lag {lags[0]:g}",
            partial(euler, name=name, lag=lags[0]),
            partial(displaced, name),
            expect="no claim",
        )
        for name, lags in LAGS.items()
    ]
)
