"""Free energies and rates of umbrella windows: of independent draws, and of loops learned anew each time."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.data import Bias, Frames
from bayescg.experiments import Row
from bayescg.models import MultitaskCV

CENTRES = np.linspace(-1.6, 1.6, 17)
WIDTH = 0.2
GRID = np.linspace(-2.5, 2.5, 5001)
DENSITY = np.exp(-(6.0 * (GRID**2 - 1.0) ** 2 + 0.4 * GRID))
DENSITY /= DENSITY.sum()
LEFT, RIGHT, TOP = (-2.5, 0.0), (0.0, 2.5), (-0.1, 0.1)

WELL_A, PASS, WELL_B = (-6.2, -5.6), (1.0, 1.6), (23.2, 23.8)
"""Bins of X-Y around the minima and the saddle of the free energy."""


def first(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def in_a(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] < -0.9


def in_b(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] > 0.9


def windows(seed: int, columns: int, times: int) -> Frames:
    """Independent draws of all windows in each column, whose replicas walk."""
    rng = np.random.default_rng(seed)
    felt = DENSITY * np.exp(-0.5 * ((GRID - CENTRES[:, None]) / WIDTH) ** 2)
    s = np.stack([rng.choice(GRID, (columns, times), p=p / p.sum()) for p in felt], -1).ravel()
    s = s + rng.uniform(-0.5, 0.5, len(s)) * (GRID[1] - GRID[0])
    window, column = np.tile(np.arange(17), columns * times), np.repeat(np.arange(columns), times * 17)
    time = np.tile(np.repeat(np.arange(times), 17), columns)
    bias = Bias(
        window, 0.5 * ((s[:, None] - CENTRES) / WIDTH) ** 2,
        replica=column * 17 + (window + 5 * time) % 17, born=np.tile(np.arange(17), columns),
    )  # fmt: skip
    return Frames.from_numpy(s[:, None], unit="reduced", bias=bias, trajectory=column, temperature_kT=1.0)


def of_draws(seed: int, columns: int, fixed: bool = False) -> dict[str, Quantity]:
    """Two free energies and a rate; `fixed`: by weights that are taken for exact."""
    frames = windows(seed, columns, 400 // columns)
    if fixed:
        frames = replace(frames, bias=None)
    rates = bcg.analysis.rates(first, frames, in_a, in_b, bins=25, draws=400, seed=seed)
    fes = bcg.analysis.free_energy(None, frames, cv=first, bins=20, draws=400, seed=seed)
    return {
        "difference": fes.difference(LEFT, RIGHT), "barrier": fes.difference(LEFT, TOP),
        "log rate": _log(rates.quantities["rate_ab"]),
    }  # fmt: skip


def _log(rate: Quantity) -> Quantity:
    return Quantity.of(np.log(rate.draws), "", rate.warning)


def exact_rates() -> np.ndarray:
    """From a to b and back, (2,), D = kT = 1: flux over E[1 - q] and E[q]."""
    between = (GRID > -0.9) & (GRID < 0.9)
    resistance = np.where(between, 1.0 / DENSITY, 0.0) * (GRID[1] - GRID[0]) ** 2
    q = np.cumsum(resistance) / resistance.sum()
    return 1.0 / resistance.sum() / np.array([(DENSITY * (1.0 - q)).sum(), (DENSITY * q).sum()])


def truth_of_draws() -> dict[str, float]:
    left, right, top = (DENSITY[(low <= GRID) & (high > GRID)].sum() for low, high in (LEFT, RIGHT, TOP))
    rate = float(np.log(exact_rates()[0]))
    return {"difference": np.log(left / right), "barrier": np.log(left / top), "log rate": rate}


@cache
def shallow() -> bcg.systems.MuellerBrown5D:
    return bcg.systems.MuellerBrown5D("shallow")


def loop(seed: int, steps: int) -> dict[str, Quantity]:
    """Shots, a CV and windows of their own."""
    system = shallow()
    regions = {name: system.states[name] for name in ("A", "B")}
    common: dict[str, Any] = {"dt": 1.0, "seed": seed, "progress": False}
    hot = bcg.sampling.flattened(system, 400, ceiling=14.0, steps=8000, **common)
    shots = bcg.sampling.commitment(system, hot, regions, shots=10, **common)
    model = MultitaskCV(bcg.features.radii(5, [[0, 1], [2, 3]]), latent_dim=2)
    fit = bcg.fit(model, shots, steps=1500, members=4, validation=0.0, seed=seed, compile="trace")
    common |= {"dt": 0.5, "friction": 0.1}
    biased = bcg.sampling.umbrella(system, fit, steps, windows=20, walkers=12, starts=shots, **common)
    rates = bcg.analysis.rates(fit, biased, regions["A"], regions["B"], draws=400, seed=seed)
    along = system.observables["X-Y"]
    fes = bcg.analysis.free_energy(None, biased, cv=along, bins=60, draws=400, seed=seed)
    return {
        "difference": fes.difference(WELL_A, WELL_B), "barrier": fes.difference(WELL_A, PASS),
        "log rate": _log(rates.quantities["rate_ab"]),
    }  # fmt: skip


def truth_of_loop() -> Mapping[str, float]:
    system = shallow()
    profile = bcg.truth.free_energy(system, system.observables["X-Y"], bins=np.linspace(-20.0, 40.0, 101))
    rate = bcg.truth.reaction_rates(system, system.states["A"], system.states["B"])[0].value
    return {
        "difference": profile.difference(WELL_A, WELL_B).value, "barrier": profile.difference(WELL_A, PASS).value,
        "log rate": float(np.log(rate)),
    }  # fmt: skip


ROWS = [
    *(
        Row(
            f"umbrella-draws-{columns}-columns",
            f"{columns} columns of 17 windows, {400 // columns} independent draws of each; a barrier of 6 kT",
            partial(of_draws, columns=columns),
            truth_of_draws,
            control=partial(of_draws, columns=columns, fixed=True),
        )
        for columns in (16, 8)
    ),
    Row(
        "umbrella-loop",
        "5-D Müller-Brown, shallow: shots, committor, 20 windows x 12 walkers x 6000 steps, all anew",
        partial(loop, steps=6000),
        truth_of_loop,
    ),
]
