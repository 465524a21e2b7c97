"""Free energies between unequal wells, without data: refits of embedded physics and flows, all trained anew."""

from functools import partial

import numpy as np
import torch
from scipy.integrate import quad

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.analysis.free_energy.refits import log_partition
from bayescg.experiments import Row
from bayescg.models import BoltzmannGenerator, EmbeddedPhysics

BARRIER = 0.16745


def tilted(x: torch.Tensor) -> torch.Tensor:
    """Two wells in x[0], the right one 2 kT above the left one or so, and springs in the other directions."""
    return 4 * (x[..., 0] ** 2 - 1) ** 2 + x[..., 0] + 2 * (x[..., 1:] ** 2).sum(-1)


def system(name: str) -> bcg.systems.System:
    return bcg.systems.DoubleWell() if name == "double well" else bcg.systems.from_function(tilted, dim=2)


def difference(seed: int, name: str, steps: int) -> dict[str, Quantity]:
    """Of the wells' populations, by six refits and what they are refits of."""
    model = EmbeddedPhysics(system(name), hidden=(16,))
    fit = bcg.fit(
        model, steps=steps, batch_size=200, learning_rate=1e-2, uncertainty="ensemble", members=6, compile="trace",
        seed=seed, progress=False,
    )  # fmt: skip
    frames = bcg.analysis.reweighted(fit, 30_000, seed=seed)
    landscape = bcg.analysis.free_energy(fit, frames, cv=lambda x: x[:, 0], draws=400)
    barrier = BARRIER if name == "double well" else 0.0
    return {"difference": landscape.difference((-10.0, barrier), (barrier, 10.0))}


def by_flow(seed: int) -> dict[str, Quantity]:
    """Of the tilted wells, by the weighted draws of one flow, with the partition function."""
    model = BoltzmannGenerator(system("tilted double well"), layers=4, hidden=(16,), beta_start=0.25, buffer=2000)
    fit = bcg.fit(model, steps=150, batch_size=200, learning_rate=2e-3, compile="trace", seed=seed, progress=False)
    frames = bcg.analysis.reweighted(fit, 2000, seed=seed)
    landscape = bcg.analysis.free_energy(fit, frames, cv=lambda x: x[:, 0], draws=400)
    return {"difference": landscape.difference((-10.0, 0.0), (0.0, 10.0)), "log_z": log_partition(frames, 400, seed)}


def exact(name: str) -> dict[str, float]:
    if name == "double well":
        return {"difference": 4.7776}  # tests/systems/test_wells.py
    left, right = (
        quad(lambda x: np.exp(-4 * (x**2 - 1) ** 2 - x), *ends, epsabs=1e-12)[0] for ends in ((-10, 0), (0, 10))
    )
    return {"difference": float(np.log(left / right)), "log_z": float(np.log((left + right) * (np.pi / 2) ** 0.5))}


def difference_of(name: str) -> dict[str, float]:
    return {"difference": exact(name)["difference"]}


ROWS = [
    Row(
        "boltzmann-generator",
        "BoltzmannGenerator, tilted double well, 150 steps, 2000 draws reweighted",
        by_flow,
        partial(exact, "tilted double well"),
    ),
    Row(
        "embedded-physics-double-well",
        "EmbeddedPhysics, double well, 6 refits of 600 steps of 200 energies, reweighted",
        partial(difference, name="double well", steps=600),
        partial(difference_of, "double well"),
    ),
    Row(
        "embedded-physics-too-short",
        "EmbeddedPhysics, tilted double well, 6 refits of 300 steps of 200 energies, of which some lose a well",
        partial(difference, name="tilted double well", steps=300),
        partial(difference_of, "tilted double well"),
        expect="refused",
    ),
]
