"""Free energies of correlated, weighted and planar frames, and of weighted draws; exact values are quadratures."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch

import bayescg as bcg
from bayescg.analysis import FreeEnergy, Quantity, free_energy
from bayescg.analysis.free_energy.refits import log_partition
from bayescg.data import Frames
from bayescg.experiments import Row
from bayescg.models import EmbeddedPhysics

LEFT, RIGHT = (-2.625, 0.0), (0.0, 2.625)
EDGES = np.linspace(-2.625, 2.625, 22)
WELL, BARRIER = 6, 10  # bins around -1 and 0
EDGES_OF_PLANE = np.linspace(-2.5, 2.5, 11)
CORNER, SADDLE = (2, 3), (4, 5)  # bins of the plane in the left well and at its edge
LOWEST, ON_THE_WAY = 4, {"slope": 12, "top": 20, "upper well": 34}
HOT = 2.0
"""Temperature in kT of the frames that are weighted."""


def first(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def double_well(x: Any) -> Any:
    return (x**2 - 1) ** 2 + 0.4 * x


def valley(x: Any, y: Any) -> Any:
    return double_well(x) + 2 * (y - x / 2) ** 2


@cache
def exact() -> dict[str, float]:
    """Of all rows, by sums over a fine grid within the ranges of the profiles."""
    x = np.linspace(-2.625, 2.625, 21 * 400, endpoint=False) + 2.625 / (21 * 400)
    p = np.exp(-double_well(x))
    bins = p.reshape(21, -1).sum(1)
    right = p[x >= 0].sum() / p.sum()
    values = {
        "difference": np.log(1 / right - 1),
        "population": 1 - right,
        "barrier": np.log(bins[WELL] / bins[BARRIER]),
    }
    x = np.linspace(-2.5, 2.5, 1000, endpoint=False) + 0.0025
    p = np.exp(-valley(x[:, None], x))
    bins = p.reshape(10, 100, 10, 100).sum((1, 3))
    corners = p[x < 0][:, x < 0].sum(), p[x >= 0][:, x >= 0].sum()
    return values | {"corners": np.log(corners[0] / corners[1]), "saddle": np.log(bins[CORNER] / bins[SADDLE])}


def truth(*names: str) -> dict[str, float]:
    return {name: float(exact()[name]) for name in names}


def metropolis(energy: Callable[..., Any], start: list[float], steps: int, rng: np.random.Generator) -> np.ndarray:
    """A chain (steps, dim) whose stationary density is exactly exp(-energy) within the ranges of the profiles."""
    burn, x = 500, start
    moves, tests = rng.normal(scale=0.6, size=(burn + steps, len(x))).tolist(), np.log(rng.uniform(size=burn + steps))
    before, chain = energy(*x), []
    for move, test in zip(moves, tests.tolist(), strict=True):
        there = [a + b for a, b in zip(x, move, strict=True)]
        after = energy(*there) if max(map(abs, there)) < 2.5 + 0.125 * (len(x) == 1) else np.inf
        if test < before - after:
            x, before = there, after
        chain.append(x)
    return np.array(chain[burn:])


def simulated(
    seed: int, steps: int, trajectories: int = 1, kT: float = 1.0, energy: Callable[..., Any] = double_well
) -> Frames:
    """Frames of several chains, each begun in either well; weighted where they are of another temperature."""
    rng, size = np.random.default_rng(seed), energy.__code__.co_argcount
    starts = rng.choice([-1.0, 1.0], size=trajectories)
    x = np.concatenate([metropolis(lambda *x: energy(*x) / kT, [s] + [s / 2] * (size - 1), steps, rng) for s in starts])
    log_weights = (1 / kT - 1) * energy(*x.T)
    weights = None if kT == 1 else np.exp(log_weights - log_weights.max())
    number = np.repeat(np.arange(trajectories), steps)
    return Frames.from_numpy(x, unit="reduced", dt=1.0, temperature_kT=1.0, trajectory=number, weights=weights)


def between(fes: FreeEnergy, a: Any, b: Any) -> Quantity:
    """Of bin b minus that of bin a, where both have a band."""
    few = "too few frames" if fes.untold[a] or fes.untold[b] else None
    low, high = (fes.profile.values[(slice(None), *np.atleast_1d(k))] for k in (a, b))
    return Quantity.of(high - low, "kT", few)


def along(seed: int, **how: Any) -> dict[str, Quantity]:
    fes = free_energy(None, simulated(seed, **how), cv=first, bins=21, range=(-2.625, 2.625), draws=400, seed=seed)
    difference = fes.difference(LEFT, RIGHT)
    return {"difference": difference, "population": fes.population(LEFT), "barrier": between(fes, WELL, BARRIER)}


def plane(seed: int, **how: Any) -> dict[str, Quantity]:
    frames, limits = simulated(seed, energy=valley, **how), (-2.5, 2.5)
    fes = free_energy(None, frames, cv=lambda x: x, bins=10, range=(limits, limits), draws=400, seed=seed)
    below, above = (-2.5, 0.0), (0.0, 2.5)
    return {"corners": fes.difference((below, below), (above, above)), "saddle": between(fes, CORNER, SADDLE)}


@cache
def rough() -> bcg.Fit:
    """A generator that is far from right, so that its weights have much to do."""
    model = EmbeddedPhysics(bcg.systems.QuarticDoubleWell(2), hidden=(8,), components=4)
    return bcg.fit(model, steps=300, batch_size=128, learning_rate=5e-3, compile="trace", seed=0, progress=False)


def of_draws(seed: int) -> dict[str, Quantity]:
    """Fresh weighted draws of one fit: unequal halves, and log Z."""
    frames = bcg.analysis.reweighted(rough(), 2000, seed)
    fes = free_energy(rough(), frames, cv=first, draws=400, seed=seed)
    return {"halves": fes.difference((-9.0, 0.5), (0.5, 9.0)), "log_z": log_partition(frames, 400, seed)}


def exact_of_draws() -> dict[str, float]:
    x = np.linspace(-5, 5, 100_001)
    density = np.exp(-((x**2 - 1) ** 2))
    log_z = bcg.truth.log_partition(bcg.systems.QuarticDoubleWell(2)).value
    return {"halves": float(np.log(density[x < 0.5].sum() / density[x >= 0.5].sum())), "log_z": float(log_z)}


@cache
def cheap() -> bcg.Fit:
    """A generator of two unequal wells: a tenth of its draws count on the barrier."""
    model, settings = EmbeddedPhysics(bcg.systems.DoubleWell(), hidden=(16,)), {"learning_rate": 5e-3, "seed": 0}
    return bcg.fit(model, steps=600, batch_size=256, compile="trace", progress=False, **settings)


def profile_of_draws(seed: int) -> dict[str, Quantity]:
    """Fresh weighted draws of one fit: bins on the way from the lower well to the upper one."""
    frames = bcg.analysis.reweighted(cheap(), 10_000, seed)
    fes = free_energy(cheap(), frames, cv=first, bins=40, range=(-3.2, 3.2), seed=seed)
    return {name: between(fes, LOWEST, bin_) for name, bin_ in ON_THE_WAY.items()}


def exact_profile() -> dict[str, float]:
    edges = np.linspace(-3.2, 3.2, 41)
    profile = bcg.truth.free_energy(bcg.systems.DoubleWell(), first, bins=edges, cells=20_000).profile.values
    return {name: float(profile[bin_] - profile[LOWEST]) for name, bin_ in ON_THE_WAY.items()}


ONE, TWO = ("difference", "population", "barrier"), ("corners", "saddle")

ROWS = [
    *(
        Row(f"free-energy-{words}", f"double well, {about}", partial(along, **how), partial(truth, *ONE))
        for words, about, how in (
            ("short", "1500 Metropolis steps", {"steps": 1500}),
            ("long", "4000 Metropolis steps", {"steps": 4000}),
            ("four-trajectories", "4 x 2000 Metropolis steps", {"steps": 2000, "trajectories": 4}),
            ("weighted", "4000 steps at twice the temperature, weighted", {"steps": 4000, "kT": HOT}),
        )
    ),
    *(
        Row(f"free-energy-plane{words}", f"valley in the plane, {about}", partial(plane, **how), partial(truth, *TWO))
        for words, about, how in (
            ("", "4000 Metropolis steps", {"steps": 4000}),
            ("-weighted", "4000 steps at twice the temperature, weighted", {"steps": 4000, "kT": HOT}),
        )
    ),
    Row(
        "free-energy-profile-draws",
        "10 000 weighted draws of one generator of unequal wells",
        profile_of_draws,
        exact_profile,
    ),
    Row("free-energy-draws", "2000 weighted draws of one generator, trained for 300 steps", of_draws, exact_of_draws),
]  # fmt: skip
