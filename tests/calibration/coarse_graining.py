"""What predictive coarse-graining predicts of a hidden double well, and the potential that it finds.

Four coordinates, x = W X + m + noise, with X of the energy 0.5 X^4 - 2 X^2 + 0.25 X; 400 independent frames.
"""

from functools import cache, partial
from typing import Any

import numpy as np
import torch

import bayescg as bcg
from bayescg.data import Frames
from bayescg.experiments import Row
from bayescg.models import PredictiveCoarseGraining

LOADINGS = np.array([1.0, -0.6, 0.4, 0.8])
SHIFT = np.array([0.5, -1.0, 0.0, 2.0])
NOISE = np.array([0.5, 0.4, 0.6, 0.5])
GRID = np.linspace(-4, 4, 8001)
FIT = {"steps": 300, "learning_rate": 0.1, "validation": 0.0, "compile": "trace"}
BARRIER = "barrier"


def energy(x: np.ndarray) -> np.ndarray:
    return 0.5 * x**4 - 2 * x**2 + 0.25 * x


def density() -> np.ndarray:
    weight = np.exp(-energy(GRID))
    return weight / weight.sum()


def simulate(seed: int, count: int = 400) -> Frames:
    rng = np.random.default_rng([11, seed])
    hidden = rng.choice(GRID, size=(count, 1), p=density())
    x = hidden * LOADINGS + SHIFT + NOISE * rng.normal(size=(count, 4))
    return Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)


@cache
def truth() -> dict[str, float]:
    from scipy.stats import norm

    mean, weight = GRID[:, None] * LOADINGS + SHIFT, density()
    first = weight @ mean[:, 1]
    u = energy(GRID)
    middle = np.abs(GRID) < 0.5
    return {
        "P(x0 < 0)": float(weight @ norm.cdf(-mean[:, 0] / NOISE[0])),
        "E x0 x3": float(weight @ (mean[:, 0] * mean[:, 3])),
        "P(x0 > 1.5)": float(weight @ norm.cdf((mean[:, 0] - 1.5) / NOISE[0])),
        "Var x1": float(weight @ mean[:, 1] ** 2 - first**2 + NOISE[1] ** 2),
        BARRIER: float(u[middle].max() - u.min()),
    }


def answers(seed: int, choice: str, samples: int = 10_000, draws: int = 100, **settings: Any) -> dict[str, np.ndarray]:
    """Draws of averages of what the fit generates, and of the height of the barrier of its potential."""
    frames = simulate(seed)
    fit = bcg.fit(PredictiveCoarseGraining(), frames, uncertainty=choice, seed=seed, **{**FIT, **settings})
    x = [of_draw.double() for of_draw in fit.generate(samples, draws=fit.weights.members or draws, seed=seed)]
    averages = {
        "P(x0 < 0)": [float((v[:, 0] < 0).double().mean()) for v in x],
        "E x0 x3": [float((v[:, 0] * v[:, 3]).mean()) for v in x],
        "P(x0 > 1.5)": [float((v[:, 0] > 1.5).double().mean()) for v in x],
        "Var x1": [float(v[:, 1].var()) for v in x],
    }
    draws = fit.weights.members or 200
    model: Any = fit.model
    along = model.potential.lattice
    u = fit.system(draws=draws).energy(along.expand(draws, *along.shape)).detach().double()
    inside = (along[:, 0].abs() < 1.0).expand(draws, -1)
    barrier = torch.where(inside, u, -torch.inf).amax(1) - u.amin(1)
    return {name: np.asarray(values) for name, values in averages.items()} | {BARRIER: barrier.numpy()}


ROWS = [
    Row(
        f"predictive-coarse-graining-{choice}",
        f"{choice}: averages that `PredictiveCoarseGraining` predicts, and the barrier of its potential, from 400 "
        "frames of a hidden double well, 300 steps at 0.1, no validation",
        partial(answers, choice=choice),
        truth,
    )
    for choice in ("laplace", "bootstrap")
]
