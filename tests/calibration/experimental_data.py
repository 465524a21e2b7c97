"""Populations of three basins of a torsion whose force field is off, from couplings; the truth is drawn anew each time.

What is counted is the difference from it, whose truth is 0.
"""

from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.analysis.experimental import force_field_error
from bayescg.experiments import Row
from bayescg.features import KARPLUS

CENTRES, SHARES, NARROW = np.deg2rad([-75.0, -150.0, 60.0]), np.array([0.45, 0.4, 0.15]), 12.0
BASINS = {"alpha": (-110.0, 0.0), "beta": (120.0, -110.0), "left": (0.0, 120.0)}
CURVES = [parameters for sets in KARPLUS.values() for parameters in sets.values()]
SIX = [*CURVES, (7.90, -1.05, 0.65, 60.0, 0.25)]
GRID = np.linspace(-np.pi, np.pi, 720, endpoint=False)
MEASURED, FORWARD = 0.1, 0.39  # Hz: 0.4 together


def coupling(parameters, angle):
    a, b, c, phase, _ = parameters
    turned = np.cos(angle + np.deg2rad(phase))
    return a * turned**2 + b * turned + c


def inside(basin: str, angle: Any) -> Any:
    low, high = np.deg2rad(BASINS[basin])
    return (angle >= low) & (angle < high) if low < high else (angle >= low) | (angle < high)


def simulated_density() -> np.ndarray:
    p = SHARES @ np.exp(NARROW * (np.cos(GRID - CENTRES[:, None]) - 1))
    return p / p.sum()


class Curves(bcg.features.ForwardModel):
    """Couplings of an angle that is the frame itself."""

    unit, error = "Hz", 0.36

    def __init__(self, curves):
        super().__init__(len(curves), None)
        self.curves = curves

    @property
    def names(self) -> list[str]:
        return [f"J{k}" for k in range(self.size)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.as_tensor(coupling(c, x[:, 0].numpy())) for c in self.curves], 1)


def angle(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def drawn_truth(length: float, rng: np.random.Generator) -> np.ndarray:
    kernel = np.exp((np.cos(GRID[:, None] - GRID) - 1) / length**2)
    values, vectors = np.linalg.eigh(kernel)
    p = simulated_density() * np.exp(-vectors @ (values.clip(0) ** 0.5 * rng.normal(size=len(GRID))))
    return p / p.sum()


def errors(seed: int, length: float = 1.0, curves=tuple(CURVES[i] for i in (0, 3, 4)), off: float = 0.0, how=None):
    """Populations of the basins, less what they are."""
    rng = np.random.default_rng([seed, 7])
    p = drawn_truth(length, rng)
    factors = 1 + off * rng.normal(size=len(curves))
    noise = np.hypot(MEASURED, 0.0 if off else FORWARD) * rng.normal(size=len(curves))
    data = {
        f"J{k}": (float(factors[k] * coupling(c, GRID) @ p + noise[k]), MEASURED) for k, c in enumerate(curves)
    }  # fmt: skip
    x = rng.choice(GRID, 20_000, p=simulated_density())[:, None]
    frames = bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    truth = {name: float(p[inside(name, GRID)].sum()) for name in BASINS}
    populations = (how or posterior)(frames, data, Curves(curves), seed)
    return {name: Quantity.of(q - truth[name], "") for name, q in populations.items()}


def posterior(frames, data, forward, seed: int, draws: int = 200):
    ensemble = bcg.analysis.experiments(frames, data, forward, angle, periodic=True, draws=draws, seed=seed)
    x = torch.as_tensor(frames.positions[:, 0])
    return {name: ensemble.average_of(np.asarray(inside(name, x), dtype=float)).draws for name in BASINS}


@contextmanager
def narrow_prior():
    before = force_field_error.SCALE
    force_field_error.SCALE = before / 8
    try:
        yield
    finally:
        force_field_error.SCALE = before


def over_confident(frames, data, forward, seed: int):
    """The force field is trusted eight times as much."""
    with narrow_prior():
        return posterior(frames, data, forward, seed)


def tilted(frames, data, forward, seed: int, draws: int = 20):
    """Maximum entropy with chi^2 of one a datum, and data drawn anew within their errors."""
    frames = frames[::10]
    rng, x = np.random.default_rng([seed, 8]), frames.positions[:, 0]
    populations: dict[str, list[float]] = {name: [] for name in BASINS}
    for _ in range(draws):
        again = {k: (v + 0.4 * rng.normal(), 0.4) for k, (v, _) in data.items()}
        for theta in np.geomspace(30.0, 0.03, 13):
            near = bcg.analysis.maximum_entropy(frames, again, forward, theta)
            w = np.asarray(near.weights, dtype=float)
            w /= w.sum()
            seen = w @ forward(torch.as_tensor(frames.positions)).numpy()
            if np.mean([((seen[i] - v) / s) ** 2 for i, (v, s) in enumerate(again.values())]) <= 1:
                break
        for name in BASINS:
            populations[name].append(float(w[np.asarray(inside(name, x))].sum()))
    return {name: np.array(values) for name, values in populations.items()}


def of_one(frames, data, forward, seed: int, draws: int = 200):
    """Each frame weighed as if it alone had to show the data, which are averages; data drawn anew as above."""
    rng, x = np.random.default_rng([seed, 8]), frames.positions[:, 0]
    shown, middle = forward(torch.as_tensor(frames.positions)).numpy(), np.array([v for v, _ in data.values()])
    again = middle + 0.4 * rng.normal(size=(draws, len(middle)))
    w = np.exp(-0.5 * np.square((shown - again[:, None]) / 0.4).sum(2))
    return {name: w @ np.asarray(inside(name, x), dtype=float) / w.sum(1) for name in BASINS}


def truth() -> dict[str, float]:
    return dict.fromkeys(BASINS, 0.0)


ABOUT = "three basins of a torsion, force field off by a Gaussian process of 1 kT"
ROWS = [
    Row(
        "experiments-three-couplings",
        f"{ABOUT} and length 1, three couplings off by .4 Hz: populations less the truth",
        errors,
        truth,
        control=partial(errors, how=over_confident),
    ),
    Row(
        "experiments-rough-error",
        f"{ABOUT} and length .5, three couplings off by .4 Hz: populations less the truth",
        partial(errors, length=0.5),
        truth,
        control=partial(errors, length=0.5, how=over_confident),
    ),
    Row(
        "experiments-wrong-curves",
        f"{ABOUT} and length .7, six couplings whose curves are off by 10 %: populations less the truth",
        partial(errors, length=0.7, curves=tuple(SIX), off=0.1),
        truth,
        control=partial(errors, length=0.7, curves=tuple(SIX), off=0.1, how=over_confident),
    ),
    Row(
        "experiments-maximum-entropy",
        f"{ABOUT} and length 1, three couplings off by .4 Hz: populations by maximum entropy less the truth",
        partial(errors, how=tilted),
        truth,
        expect="no claim",
    ),
    Row(
        "experiments-one-conformation",
        f"{ABOUT} and length 1, three couplings off by .4 Hz: populations by frames that show all less the truth",
        partial(errors, how=of_one),
        truth,
        expect="no claim",
    ),
]
