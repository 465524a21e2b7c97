"""Rates along a CV that is no committor, put right by shots."""

from functools import cache

import numpy as np
import torch

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.experiments import Row
from bayescg.systems.analytic import AnalyticSystem


def in_a(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] < -0.8


def in_b(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] > 0.8


def first(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


@cache
def dragged() -> AnalyticSystem:
    """A double well whose first coordinate drags a second one along, which the barrier is crossed with."""

    def energy(x: torch.Tensor) -> torch.Tensor:
        return 4 * (x[:, 0] ** 2 - 1) ** 2 + 4 * (x[:, 1] - x[:, 0]) ** 2 + 0.3 * x[:, 0]

    return AnalyticSystem(energy, temperature_kT=1.0, box=[(-2.6, 2.6), (-4.5, 4.5)])


def frames_and_shots(seed: int, count: int) -> tuple[bcg.data.Frames, bcg.data.Frames]:
    frames = bcg.sampling.equilibrium(dragged(), 20 * count, seed=seed)
    x = torch.as_tensor(frames.gather(slice(None))).flatten(1)
    between = np.flatnonzero(~(in_a(x) | in_b(x)).numpy())[:count]
    regions = {"A": in_a, "B": in_b}
    shots = bcg.sampling.commitment(
        dragged(), frames[between], regions, shots=1, dt=5e-4, seed=seed, progress=False, compile="trace"
    )
    return frames, shots


def log_rate(seed: int, by_shots: bool = True) -> dict[str, Quantity]:
    frames, shots = frames_and_shots(seed, 4000)
    rates = bcg.analysis.rates(
        first, frames, in_a, in_b, shots=shots if by_shots else None, system=dragged(), draws=400, seed=seed
    )
    quantity = rates.quantities["rate_ab"]
    return {"log rate": Quantity.of(np.log(quantity.draws), "", quantity.warning)}


def bound(seed: int) -> dict[str, Quantity]:
    """What is said without shots."""
    return log_rate(seed, by_shots=False)


def truth() -> dict[str, float]:
    return {"log rate": float(np.log(bcg.truth.reaction_rates(dragged(), in_a, in_b)[0].value))}


ROWS = [
    Row(
        "rates-from-shots",
        "double well that drags a coordinate along, CV x: 80 000 draws, a shot each from 4000 between the wells",
        log_rate,
        truth,
        control=bound,
    )
]
