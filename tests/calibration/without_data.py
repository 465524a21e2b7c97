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


def at_temperatures(seed: int) -> dict[str, Quantity]:
    """Of the tilted wells at kT = 1.5, 2.5 and 3, by the weighted draws of one flow trained from 1 to 3."""
    model = BoltzmannGenerator(
        system("tilted double well"), layers=4, hidden=(16,), beta_start=0.25, buffer=2000, temperatures=(1.0, 3.0)
    )
    fit = bcg.fit(model, steps=300, batch_size=200, learning_rate=2e-3, compile="trace", seed=seed, progress=False)
    answers = {}
    for kT in (1.5, 2.5, 3.0):
        frames = bcg.analysis.reweighted(fit, 4500, seed=seed, temperature=kT)
        landscape = bcg.analysis.free_energy(None, frames, cv=lambda x: x[:, 0], draws=400)
        answers[f"difference_{kT}"] = landscape.difference((-10.0, 0.0), (0.0, 10.0))
        answers[f"log_z_{kT}"] = log_partition(frames, 400, seed)
        answers[f"heat_capacity_{kT}"] = bcg.analysis.heat_capacity(frames, system("tilted double well"), seed=seed)
    return answers


def exact_at_temperatures() -> dict[str, float]:
    x = np.linspace(-4.0, 4.0, 80_001)
    answers = {}
    for kT in (1.5, 2.5, 3.0):
        energy = 4 * (x**2 - 1) ** 2 + x
        weight = np.exp(-energy / kT)
        left, right = weight[x < 0].sum(), weight[x > 0].sum()
        mean = np.average(energy, weights=weight)
        answers[f"difference_{kT}"] = float(np.log(left / right))
        answers[f"log_z_{kT}"] = float(np.log(weight.sum() * (x[1] - x[0]) * (np.pi * kT / 2) ** 0.5))
        # the spring across adds half of k
        answers[f"heat_capacity_{kT}"] = float(np.average((energy - mean) ** 2, weights=weight)) / kT**2 + 0.5
    return answers


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
        "generator-at-temperatures",
        "BoltzmannGenerator from kT = 1 to 3, tilted double well, 300 steps, 4500 draws reweighted to 1.5, 2.5 and 3",
        at_temperatures,
        exact_at_temperatures,
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
