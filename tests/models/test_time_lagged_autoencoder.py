"""Time-lagged autoencoder against exact answers: with linear maps it is reduced-rank regression."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.data import Frames
from bayescg.models import TimeLaggedAutoencoder

KEEP = np.array([0.95, 0.7, 0.3, 0.1])
MIX = np.array([[0.1, 0.05, 0.0, 0.02], [1.0, -0.5, 0.3, 0.0], [-2.0, 1.0, 0.4, 0.7], [0.4, 3.0, 1.0, -1.0]])


def chain(n: int = 3000, seed: int = 0) -> Frames:
    """Four autoregressive coordinates, mixed so that the slowest has the smallest variance."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    for k in range(1, n):
        x[k] = KEEP * x[k - 1] + np.sqrt(1 - KEEP**2) * x[k]
    return Frames.from_numpy(x @ MIX, unit="reduced", dt=1.0, temperature_kT=1.0)


@pytest.fixture(scope="module")
def fitted():
    pairs = chain().lagged(1.0)
    model = TimeLaggedAutoencoder(latent_dim=2, hidden=())
    settings = {"steps": 500, "batch_size": 5000, "validation": 0.0, "learning_rate": 0.05, "compile": "trace"}
    return pairs, bcg.fit(model, pairs, uncertainty="none", **settings)


def whitened(fit, pairs) -> tuple[np.ndarray, np.ndarray]:
    x, y = (fit.model.inputs(torch.as_tensor(end)).numpy() for end in pairs.gather(slice(None)))
    return x, y


def test_linear_maps_are_reduced_rank_regression(fitted):
    pairs, fit = fitted
    x, y = whitened(fit, pairs)
    xc, yc = x - x.mean(0), y - y.mean(0)
    least_squares = np.linalg.solve(xc.T @ xc, xc.T @ yc).T
    axes = np.linalg.eigh(least_squares @ (xc.T @ xc) @ least_squares.T)[1][:, -2:]
    exact = axes @ axes.T @ least_squares
    found = (fit.model.decoder[0].weight @ fit.model.encoder[0].weight).detach().numpy()
    np.testing.assert_allclose(found, exact, atol=2e-3)
    residual = np.square(yc - xc @ exact.T).mean()
    assert fit.model.log_noise.exp().item() ** 2 == pytest.approx(residual, rel=1e-3)


def test_the_cvs_are_the_slow_coordinates(fitted):
    """Not those of large variance; each slow coordinate is a combination of the CVs, R^2 > 0.99."""
    _, fit = fitted
    frames = chain(2000, seed=1)
    slow = frames.positions @ np.linalg.inv(MIX)
    z = fit.cv(frames).mean.numpy()
    design = np.column_stack([z, np.ones(len(z))])
    residual = slow - design @ np.linalg.lstsq(design, slow, rcond=None)[0]
    r2 = 1 - residual.var(0) / slow.var(0)
    assert (r2[:2] > 0.98).all()
    assert (r2[2:] < 0.1).all()


@pytest.mark.slow
def test_refits_agree_on_the_gauge():
    """Refits from different weights: CVs of unit variance that differ by what the frames leave open only."""
    frames = chain()
    settings = {"steps": 300, "batch_size": 1000, "validation": 0.0, "learning_rate": 0.05, "compile": "trace"}
    model = TimeLaggedAutoencoder(latent_dim=2, hidden=())
    fit = bcg.fit(model, frames.lagged(1.0), uncertainty="ensemble", members=4, **settings)
    cv = fit.cv(frames[::10])
    np.testing.assert_allclose(np.cov(cv.mean.numpy().T), np.eye(2), atol=0.15)
    assert float(cv.stddev.square().mean()) < 0.1
    tree = fit.posterior(draws=3, seed=0)
    assert tree["posterior"]["cv"].sizes["latent"] == 2
    assert "log_likelihood" not in tree  # overlapping pairs are no independent observations


def test_held_out_log_score_is_the_exact_normal_one(fitted):
    _, fit = fitted
    pairs = chain(500, seed=2).lagged(1.0)
    x, y = map(torch.as_tensor, whitened(fit, pairs))
    normal = torch.distributions.Normal(fit.model.decoder(fit.model.encoder(x)), fit.model.log_noise.exp())
    torch.testing.assert_close(fit.log_density(pairs)[0], normal.log_prob(y).sum(1).detach())


def test_features_that_depend_on_others_are_left_out():
    x = chain(300).positions
    doubled = Frames.from_numpy(np.c_[x, x[:, :1] + x[:, 1:2], np.ones(300)], unit="reduced", dt=1.0)
    model = TimeLaggedAutoencoder()
    model.setup(doubled.lagged(2.0))
    assert (model.rank, model.lag, model.config()["dim"]) == (4, 2.0, 6)
    y = model.inputs(torch.as_tensor(doubled.positions))
    np.testing.assert_allclose(np.cov(y.numpy().T, bias=True), np.eye(4), atol=1e-6)
    torch.testing.assert_close(model.scale.inverse(y), torch.as_tensor(doubled.positions))
