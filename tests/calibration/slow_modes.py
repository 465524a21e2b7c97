"""Eigenvalues and timescales of slow modes, from 20 to 300 relaxations of the slowest one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm
from scipy.signal import lfilter
from torch import Tensor

import bayescg as bcg
from bayescg.analysis import Quantity, chapman_kolmogorov, spectrum
from bayescg.data import Frames
from bayescg.experiments import Row
from bayescg.models import GeneratorEigenfunctions
from bayescg.truth.grid import Grid

CELLS = 800


def steps(x: Tensor, ends: float, count: int, width: float) -> Tensor:
    """Smooth steps along the last coordinate."""
    return torch.tanh((x - torch.linspace(-ends, ends, count)) / width)


@dataclass(frozen=True)
class Case:
    """A system on a line, the time between its frames, a lag, and the functions in which its modes are sought."""

    system: Any
    every: float
    lag: float
    basis: Callable[[Tensor], Tensor]


CASES = {
    "double-well": Case(bcg.systems.QuarticDoubleWell(), 0.02, 0.1, partial(steps, ends=1.7, count=14, width=0.45)),
    "quadruple-well": Case(bcg.systems.Prinz(), 0.01, 0.05, partial(steps, ends=0.9, count=36, width=0.06)),
    "spring": Case(bcg.systems.Harmonic(), 0.05, 0.2, partial(steps, ends=2.5, count=9, width=1.0)),
}


@cache
def exact(name: str) -> np.ndarray:
    """Eigenvalues, (3,)."""
    return np.array([1.0, 2.0, 3.0]) if name == "spring" else bcg.truth.spectrum(CASES[name].system, 3).eigenvalues


@cache
def transitions(name: str) -> tuple[Grid, np.ndarray, np.ndarray]:
    """A fine grid, its probabilities, and the cumulative ones of where a frame is after another."""
    case = CASES[name]
    grid = Grid(case.system, (CELLS,))
    step = np.cumsum(expm(case.every * grid.generator().toarray()), 1)
    return grid, grid.mass / grid.mass.sum(), step


def trajectory(name: str, relaxations: float, seed: int) -> Frames:
    """From equilibrium, by exact transition probabilities: without the error of a time step."""
    case, rng = CASES[name], np.random.default_rng([seed, 7])
    count = round(relaxations / exact(name)[0] / case.every)
    if name == "spring":
        keep = np.exp(-case.every)
        noise = (1 - keep**2) ** 0.5 * rng.normal(size=count)
        x = lfilter([1.0], [1.0, -keep], noise, zi=keep * rng.normal(size=1))[0]
    else:
        grid, mass, step = transitions(name)
        state, uniform, states = rng.choice(CELLS, p=mass), rng.random(count), np.empty(count, int)
        for k in range(count):
            states[k] = state = min(int(np.searchsorted(step[state], uniform[k], side="right")), CELLS - 1)
        x = grid.axes[0][states] + grid.widths[0] * (rng.random(count) - 0.5)
    return Frames.from_numpy(x[:, None], unit="reduced", dt=case.every, temperature_kT=1.0)


def slowest(seed: int, name: str, relaxations: float, route: str, modes: int) -> dict[str, Quantity]:
    """Eigenvalues by the generator or with the lag."""
    case, frames = CASES[name], trajectory(name, relaxations, seed)
    lag = case.lag if route == "lag" else None
    quantities = spectrum(case.basis, frames, lag, modes=3, draws=400, seed=seed).quantities
    return {f"eigenvalue_{k}": quantities[f"eigenvalue_{k}"] for k in range(1, modes + 1)}


def second(seed: int, relaxations: float, lag: float | None) -> dict[str, Quantity]:
    """The second eigenvalue of a spring, a mode of heavy tails, in functions that reach as far."""
    basis, frames = partial(steps, ends=4.0, count=9, width=1.2), trajectory("spring", relaxations, seed)
    return {"eigenvalue_2": spectrum(basis, frames, lag, modes=3, draws=400, seed=seed).quantities["eigenvalue_2"]}


def barely_resolved(seed: int) -> dict[str, Quantity]:
    """The second timescale, at a lag after which it passes for noise in one of three data sets."""
    frames = trajectory("double-well", 100, seed)
    quantities = spectrum(CASES["double-well"].basis, frames, 0.4, modes=2, draws=400, seed=seed).quantities
    return {"timescale_2": quantities["timescale_2"]}


def trained(seed: int, route: str) -> dict[str, Quantity]:
    """In functions that were trained on the same frames, of which the fit holds out a fifth."""
    frames, settings = trajectory("double-well", 100, seed), {"steps": 200, "batch_size": 2048, "compile": "trace"}
    fit: Any = bcg.fit(GeneratorEigenfunctions(3, hidden=(24, 16)), frames, seed=seed, progress=False, **settings)
    quantities = spectrum(fit, frames, CASES["double-well"].lag if route == "lag" else 0.0, draws=400, seed=seed)
    return {f"eigenvalue_{k}": quantities.quantities[f"eigenvalue_{k}"] for k in (1, 2, 3)}


def bands(seed: int) -> dict[str, np.ndarray]:
    """Of correlations of the first two modes at five lags, measured and less what one lag predicts."""
    case = CASES["double-well"]
    frames = trajectory("double-well", 60, seed)
    test = chapman_kolmogorov(case.basis, frames, case.lag, modes=2, draws=200, seed=seed)
    parts = {"measured": test.measured, "difference": test.difference}
    return {f"{part}_{k}": v.isel(lag=4).sel({"from": k, "to": k}).values for part, v in parts.items() for k in (1, 2)}


def bands_truth() -> dict[str, float]:
    rates, lag = exact("double-well"), CASES["double-well"].lag
    measured = {f"measured_{k}": float(np.exp(-5 * lag * rates[k - 1])) for k in (1, 2)}
    return measured | {"difference_1": 0.0, "difference_2": 0.0}


def truth(name: str, modes: int) -> dict[str, float]:
    return {f"eigenvalue_{k + 1}": float(rate) for k, rate in enumerate(exact(name)[:modes])}


ROWS = [
    Row(
        f"slow-modes-{name}-{relaxations}-{route}",
        f"`spectrum`, {name.replace('-', ' ')}, {relaxations} relaxations of mode 1, "
        + ("generator" if route == "generator" else f"lag {CASES[name].lag}"),
        partial(slowest, name=name, relaxations=relaxations, route=route, modes=1 if name == "spring" else 3),
        partial(truth, name, 1 if name == "spring" else 3),
        expect="no claim" if relaxations == 20 else "right",
    )
    for name in CASES
    for relaxations in (20, 60, 100, 300)
    for route in ("generator", "lag")
] + [
    *(
        Row(
            f"slow-modes-spring-second-{relaxations}-{'generator' if lag is None else 'lag'}",
            f"`spectrum`, spring, {relaxations} relaxations of mode 1, mode 2 in wider functions, "
            + ("generator" if lag is None else f"lag {lag}"),
            partial(second, relaxations=relaxations, lag=lag),
            lambda: {"eigenvalue_2": 2.0},
        )
        for relaxations in (300, 400)
        for lag in (None, 0.2)
    ),
    Row(
        "slow-modes-barely-resolved",
        "`spectrum`, double well, 100 relaxations of mode 1; mode 2 after a lag of 2.4 of its timescales",
        barely_resolved,
        lambda: {"timescale_2": float(1 / exact("double-well")[1])},
        expect="interval",
    ),
    Row(
        "chapman-kolmogorov-60",
        "`chapman_kolmogorov`, double well, 60 relaxations, lag 0.1, at 0.5",
        bands,
        bands_truth,
    ),
    *(
        Row(
            f"slow-modes-trained-{route}",
            f"`spectrum` of `GeneratorEigenfunctions` trained on the same 100 relaxations of the double well, {route}",
            partial(trained, route=route),
            partial(truth, "double-well", 3),
        )
        for route in ("generator", "lag")
    ),
]
