"""Bands of forces: exact where the energy is linear in its weights, calibrated, and loud where nothing was learned."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bayescg as bcg
from bayescg.analysis import calibrated, force_bands
from bayescg.data import Frames
from bayescg.errors import DataError, ModelError
from bayescg.inference.uncertainty import Posterior
from bayescg.models import NeuralPotential

SETTINGS: dict[str, Any] = {"validation": 0.0, "compile": "off", "progress": False}


class Springs(nn.Module):
    """U = (a r^2 + b r^4) / 2 of two particles."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([2.9, 0.05]))

    def forward(self, x):
        square = (x[:, 0] - x[:, 1]).square().sum(-1)
        return 0.5 * (self.weights * torch.stack([square, square.square()], -1)).sum(-1)


def springs(n: int, seed: int, reach: float = 1.0, extra: float = 0.0) -> Frames:
    """Forces of k = 3; with `extra`, of sin as well, which the model lacks."""
    rng = np.random.default_rng(seed)
    x = reach * rng.normal(size=(n, 2, 3))
    bond = x[:, :1] - x[:, 1:]
    r = np.linalg.norm(bond, axis=-1, keepdims=True)
    pull = (3.0 + extra * np.sin(4.0 * r)) * bond
    forces = np.concatenate([-pull, pull], 1) + 0.05 * rng.normal(size=(n, 2, 3))
    return Frames.from_numpy(x.reshape(n, 6), unit="reduced", temperature_kT=1.0, forces=forces.reshape(n, 6))


@pytest.fixture(scope="module")
def fit() -> bcg.Fit:
    model = NeuralPotential(energy=Springs(), prior=3.0)
    return bcg.fit(model, springs(40, 0, extra=0.3), steps=200, batch_size=40, learning_rate=0.03, **SETTINGS)


def slopes(x: np.ndarray) -> np.ndarray:
    """Derivatives of the forces by the weights, (n, 6, 2)."""
    x = x.reshape(-1, 2, 3)
    bond = x[:, 0] - x[:, 1]
    square = np.square(bond).sum(-1, keepdims=True)
    columns = np.stack([-bond, -2.0 * square * bond], -1)
    return np.concatenate([columns, -columns], 1)


def covariance(fit: bcg.Fit, eta: float = 1.0) -> np.ndarray:
    assert fit.frames is not None
    model: Any = fit.model
    rows = slopes(np.asarray(fit.frames.positions)).reshape(-1, 2) / float(
        (model.log_noise.exp() * model.sizes)[1].detach()
    )
    return np.linalg.inv(eta * rows.T @ rows + np.eye(2) / 9.0)


@pytest.mark.parametrize("eta", [1.0, 0.02, 1e-7])
def test_bands_are_those_of_the_linear_model(fit, eta):
    x = np.asarray(springs(20, 1).positions)
    j = slopes(x)
    exact = np.sqrt(np.einsum("nij,jk,nik->ni", j, covariance(fit, eta), j))
    tempered = bcg.Fit(fit.model, fit.weights.tempered(eta), fit.settings, fit.diagnostics, fit.cost, fit.log)
    bands = force_bands(tempered, x, draws=4000, seed=3)
    np.testing.assert_allclose(bands.forces_sd, exact, rtol=0.08)
    np.testing.assert_allclose(bands.forces, fit.system().forces(torch.as_tensor(x)), rtol=1e-5)


def test_a_misfit_is_calibrated_by_held_out_forces(fit):
    """The model lacks a term: its forces lie outside of the bands, until the factor is set on other frames."""
    test = springs(300, 2, extra=0.3)
    truth = np.asarray(test.forces)

    def covered(of: bcg.Fit) -> float:
        bands = force_bands(of, test)
        return float((np.abs(bands.forces - truth) < 1.645 * bands.forces_sd).mean())

    assert covered(fit) < 0.5
    after = calibrated(fit, springs(100, 5, extra=0.3))
    assert after.diagnostics["calibration"]["eta"] < 0.3
    assert abs(covered(after) - 0.9) < 0.05
    assert "calibration" not in fit.diagnostics


def test_frames_that_training_has_not_seen_are_named(fit):
    inside, outside = springs(50, 3), springs(50, 4, reach=6.0)
    assert force_bands(fit, inside).beyond.mean() < 0.1
    bands = force_bands(fit, outside)
    assert bands.beyond.mean() > 0.5
    assert bands.warning is not None
    assert "extrapolates in" in bands.warning
    assert force_bands(fit, springs(5, 9, reach=0.3)).warning is None


def test_refused(fit):
    plain = bcg.Fit(fit.model, Posterior("none", fit.weights.point), fit.settings, {}, fit.cost, fit.log)
    with pytest.raises(ModelError, match="no parameter uncertainty"):
        force_bands(plain, springs(3, 1))
    with pytest.raises(ModelError, match="use uncertainty='laplace'"):
        calibrated(plain, springs(3, 1))
    with pytest.raises(DataError, match="neither forces nor energies"):
        calibrated(fit, replace(springs(3, 1), forces=None))
