"""Free energies between unequal wells, from refits of embedded physics that are trained anew for every repeat."""

from functools import partial

import numpy as np
import torch
from scipy.integrate import quad

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.experiments import Row
from bayescg.models import EmbeddedPhysics

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


def exact(name: str) -> dict[str, float]:
    if name == "double well":
        return {"difference": 4.7776}  # tests/systems/test_wells.py
    left, right = (
        quad(lambda x: np.exp(-4 * (x**2 - 1) ** 2 - x), *ends, epsabs=1e-12)[0] for ends in ((-10, 0), (0, 10))
    )
    return {"difference": float(np.log(left / right))}


ROWS = [
    Row(
        f"embedded-physics-{name.replace(' ', '-')}",
        f"EmbeddedPhysics, {name}, 6 refits of {steps} steps of 200 energies, reweighted",
        partial(difference, name=name, steps=steps),
        partial(exact, name),
    )
    for name, steps in (("double well", 600), ("tilted double well", 300))
]
