"""Variational dynamics encoder against the exact optimum for Ornstein-Uhlenbeck coordinates."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import bayescg as bcg
from bayescg.data import Frames
from bayescg.models import VariationalDynamicsEncoder

KEEP = np.array([0.95, 0.1])
SETTINGS = {"batch_size": 1000, "validation": 0.0, "uncertainty": "none", "learning_rate": 0.02, "compile": "trace"}


def chain(n: int = 20_000, keep: np.ndarray = KEEP, seed: int = 0) -> Frames:
    """A slow coordinate and a fast one of larger variance, mixed."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    for k in range(1, n):
        x[k] = keep * x[k - 1] + np.sqrt(1 - keep**2) * x[k]
    return Frames.from_numpy(x @ [[0.5, 0.2], [-2.0, 3.0]], unit="reduced", dt=1.0, temperature_kT=1.0)


def objective(values: np.ndarray, r: float, price: float) -> float:
    """L of the linear encoder z = a u + s e of a coordinate u with autocorrelation r, one of two that are foretold."""
    a, w, t = values[:3]
    s2, noise2, rho = np.exp(values[3]), np.exp(values[4]), np.tanh(t)
    v = a**2 + s2
    foretold = -np.log(2 * np.pi * noise2) - (2 - 2 * w * a * r + w**2 * v) / (2 * noise2)
    divergence = 0.5 * (v - 1 - np.log(s2))
    ratio = -0.5 * np.log(1 - rho**2) - (v - 2 * rho * a**2 * r + rho**2 * v) / (2 * (1 - rho**2)) + v / 2
    return foretold + price * (ratio - divergence)


@pytest.mark.parametrize("price", [pytest.param(0.1, marks=pytest.mark.slow), 1.0])
def test_linear_optimum(price):
    """Within what a data set of so many relaxation times, and a last bit of optimiser noise, leave open.

    At a low price the scale of a CV hardly matters: a tenth more of it costs 1e-4 nats.
    """
    frames = chain()
    fit = bcg.fit(VariationalDynamicsEncoder(hidden=(), price=price), frames.lagged(1.0), steps=600, **SETTINGS)
    model: Any = fit.model
    u = frames.positions @ np.linalg.inv([[0.5, 0.2], [-2.0, 3.0]])[:, 0]
    r = float(np.corrcoef(u[1:], u[:-1])[0, 1])
    best = minimize(lambda p: -objective(p, r, price), np.array([0.9, 0.9, 1.0, -1.5, 0.0]), method="BFGS")
    a, _, t, log_s2, log_noise2 = best.x
    cv = fit.cv(frames)
    assert abs(np.corrcoef(cv.mean[:, 0], u)[0, 1]) > 0.995
    assert float(cv.mean.std()) == pytest.approx(abs(a), rel=0.05 if price == 1 else 0.15)
    assert float(cv.stddev.mean() / cv.mean.std()) == pytest.approx(np.exp(log_s2 / 2) / abs(a), rel=0.05)
    assert model.arctanh_rho.tanh().item() == pytest.approx(np.tanh(t), abs=0.03)
    assert model.log_noise.item() == pytest.approx(log_noise2 / 2, abs=0.02)
    assert -fit.log[-1]["loss"] == pytest.approx(-best.fun, abs=0.01 if price < 1 else 0.05)
    # the control: the autocorrelation of a blurred CV is too small for the process: no timescale
    assert np.tanh(t) < r - 0.02


@pytest.mark.parametrize(("keep", "price", "encoded"), [(0.7, 0.1, True), (0.2, 0.1, False), (0.7, 1.0, False)])
def test_what_is_worth_its_price_is_encoded_and_a_cv_of_nothing_says_so(keep, price, encoded):
    """Worth it where keep^2 > price. At a price of 1 a lag of a third of the relaxation fails."""
    frames = chain(4000, keep=np.array([keep, 0.05]))
    model = VariationalDynamicsEncoder(hidden=(), price=price)
    fit = bcg.fit(model, frames.lagged(1.0), steps=250, **{**SETTINGS, "learning_rate": 0.03})
    spread, width = float(fit.cv(frames).mean.std()), float(fit.cv(frames).stddev.mean())
    assert (spread > 1.5 * width) if encoded else (spread < 0.25 * width)
    assert any("CV 1 tells frames hardly apart" in w for w in fit.diagnostics["warnings"]) != encoded
