"""Coverage of predicted observables on data from a known member of the model family, for every `uncertainty=`.

Six dimensions, one latent variable, 200 frames: 200 independent data sets, each fitted anew. Three observables are
predicted with 90 % intervals: the average distance of the two triples of coordinates, the average product of two
coordinates, and a probability. The truth is an average over four million draws.

The slow tests print one row each of the table in README.md: run ``pytest -n 0 -m slow -s tests/calibration``.
"""

import time
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import binom

import bayescg as bcg
from bayescg.draws import interval
from bayescg.models import PredictiveCV

OBSERVABLES = ("distance", "product", "probability")
FIT = {"objective": "iwae", "validation": 0.0, "batch_size": 200}
POINT = {"particles": 24, "learning_rate": 0.03, "steps": 600}
REFITS = {"particles": 8, "learning_rate": 0.03, "steps": 600}
SETTINGS = {"none": POINT, "mean-field": POINT, "laplace": POINT, "ensemble": REFITS, "bootstrap": REFITS}
CELLS = 12  # three observables, four choices that claim an interval


def acceptance(cells: int, repeats: int = 200, level: float = 0.9) -> tuple[int, int]:
    """Counts that a right interval leaves once in a hundred families of `cells` tests."""
    tail = 0.01 / cells / 2
    return int(binom.ppf(tail, repeats, level)), int(binom.isf(tail, repeats, level))


def simulate(frames: int, generator: torch.Generator) -> torch.Tensor:
    """Frames (n, 6) of a member of the family: a tanh decoder with eight hidden units and Gaussian noise."""
    fixed = torch.Generator().manual_seed(7)
    into, shift = 1.2 * torch.randn(8, 1, generator=fixed), 0.7 * torch.randn(8, generator=fixed)
    out = 0.6 * torch.randn(6, 8, generator=fixed)
    noise = torch.tensor([0.3, 0.4, 0.3, 0.5, 0.4, 0.3])
    z = torch.randn(frames, 1, generator=generator)
    return torch.tanh(z @ into.T + shift) @ out.T + noise * torch.randn(frames, 6, generator=generator)


def observe(x: torch.Tensor) -> torch.Tensor:
    """The three observables, (..., 3)."""
    distance = (x[..., :3] - x[..., 3:]).norm(dim=-1)
    return torch.stack([distance, x[..., 0] * x[..., 1], (x[..., 2] > 0.8).float()], -1)


@cache
def truth() -> np.ndarray:
    generator = torch.Generator().manual_seed(99)
    return torch.stack([observe(simulate(1_000_000, generator)).mean(0) for _ in range(4)]).mean(0).numpy()


def replicate(
    seed: int, choice: str, frames: int = 200, samples: int = 20_000, **settings: object
) -> dict[str, np.ndarray]:
    """Fit one data set: averages of the observables for each draw, also with the posterior halved, and plain."""
    x = simulate(frames, torch.Generator().manual_seed(1000 + seed))
    data = bcg.data.Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=1.0)
    model = PredictiveCV(latent_dim=1, hidden=(8,))
    fit = bcg.fit(model, data, uncertainty=choice, seed=seed, **{**FIT, **SETTINGS[choice], **settings})
    full = _averages(fit, samples, seed)
    fit.weights = fit.weights.scaled(0.5)
    return {"full": full, "half": _averages(fit, samples, seed), "sample": observe(x).mean(0).numpy()}


def _averages(fit: bcg.Fit, samples: int, seed: int) -> np.ndarray:
    # draw by draw: blocks of many megabytes, with small results kept in between, leave the heap in pieces
    return torch.stack([observe(x.flatten(1)).mean(0) for x in fit.generate(samples, seed=seed)]).numpy()


def covered(draws: np.ndarray) -> np.ndarray:
    """Whether the 90 % interval of each observable holds the truth; one draw is an interval of no width."""
    low, high = interval(draws) if len(draws) > 1 else (draws[0], draws[0])
    return (low <= truth()) & (truth() <= high)


def study(choice: str, repeats: int) -> dict[str, np.ndarray]:
    started = time.perf_counter()
    results = [replicate(seed, choice) for seed in range(repeats)]
    means = np.array([r["full"].mean(0) for r in results])
    sd = means.std(0, ddof=1)
    # the plain average over the frames is unbiased and goes with the estimate: a control variate for its bias
    plain = np.array([r["sample"] for r in results])
    found = {
        "covered": sum(covered(r["full"]) for r in results),
        "halved": sum(covered(r["half"]) for r in results),
        "bias": (means - plain).mean(0) / sd,
        "width": np.mean([r["full"].std(0, ddof=1) if len(r["full"]) > 1 else 0 * sd for r in results], axis=0) / sd,
        "seconds": (time.perf_counter() - started) / repeats,
    }
    print(f"\n{choice:>10}", *(f"{k} {np.round(v, 2)}" for k, v in found.items()), sep="  ")
    return found


def test_acceptance_ranges_are_those_of_the_rule() -> None:
    assert acceptance(3) == (167, 191)
    assert acceptance(9) == (165, 192)
    assert acceptance(18) == (164, 193)


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["laplace", "ensemble", "bootstrap"])
def test_intervals_hold_the_truth_as_often_as_they_say(choice: str) -> None:
    found = study(choice, 200)
    low, high = acceptance(CELLS)
    assert np.all((found["covered"] >= low) & (found["covered"] <= high)), found
    assert np.all(np.abs(found["bias"]) <= 0.3), found
    assert np.all(found["halved"] < low), "the over-confident control passes"


@pytest.mark.slow
def test_no_uncertainty_fails() -> None:
    found = study("none", 200)
    assert np.all(found["covered"] == 0)
    assert np.all(np.abs(found["bias"]) <= 0.3), found


@pytest.mark.slow
def test_mean_field_is_too_wide_where_weights_are_redundant() -> None:
    # redundant weights compensate each other in the posterior; independent ones cannot, and their spreads add up
    found = study("mean-field", 200)
    assert np.all(found["width"] > 1.2), found
    assert np.all(found["covered"] >= acceptance(CELLS)[0]), found


@pytest.mark.parametrize("choice", ["laplace", "bootstrap"])
def test_a_few_intervals_hold_the_truth(choice: str) -> None:
    # 21 intervals, 90 % each: fewer than 14 would be seen less than once in a thousand right tests
    results = [replicate(seed, choice, steps=300, samples=4000) for seed in range(7)]
    full = sum(int(covered(r["full"]).sum()) for r in results)
    half = sum(int(covered(r["half"]).sum()) for r in results)
    assert full >= 14
    assert half < full
