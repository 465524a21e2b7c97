"""Autoencoder against exact answers: with linear maps it is probabilistic principal component analysis."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ModelError
from bayescg.models import Autoencoder

LINEAR = {
    "steps": 700, "batch_size": 1000, "validation": 0.0, "uncertainty": "none", "learning_rate": 0.05,
    "compile": "trace",
}  # fmt: skip


def frames(n: int = 400) -> Frames:
    """Two latent variables in six coordinates of very different widths."""
    rng = np.random.default_rng(1)
    loadings = np.array([[1.5, 1.2, -1.0, 0.1, 0.0, 0.4], [0.0, 0.5, 0.4, -1.3, 1.0, 0.2]])
    x = rng.normal(size=(n, 2)) @ loadings + 0.5 * rng.normal(size=(n, 6))
    return Frames.from_numpy(x * np.logspace(-2, 2, 6) + 3.0, unit="reduced", temperature_kT=1.0)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Largest principal angle between the columns' spans."""
    s = np.linalg.svd(np.linalg.qr(a)[0].T @ np.linalg.qr(b)[0], compute_uv=False)
    return float(np.arccos(np.clip(s.min(), -1, 1)))


@pytest.fixture(scope="module")
def linear():
    data = frames()
    return data, bcg.fit(Autoencoder(latent_dim=2, hidden=()), data, **LINEAR)


def test_linear_maps_are_probabilistic_principal_components(linear):
    """Subspace and noise of Tipping and Bishop, eqs. (7) and (8), of the correlation matrix."""
    data, fit = linear
    values, vectors = np.linalg.eigh(np.corrcoef(data.positions.T))
    w = fit.model.decoder[0].weight.detach().double().numpy()
    noise = fit.model.log_noise.exp().item() ** 2
    assert angle(w, vectors[:, -2:]) < 0.01
    assert noise == pytest.approx(values[:-2].mean(), rel=0.01)
    np.testing.assert_allclose(np.linalg.svd(w)[1] ** 2, values[:-3:-1] - values[:-2].mean(), rtol=0.02)


def test_log_density_is_that_of_the_gaussian(linear):
    data, fit = linear
    w, width = fit.model.decoder[0].weight.double(), fit.model.scale.width.double()
    covariance = width[:, None] * (w @ w.T + torch.eye(6) * fit.model.log_noise.double().exp() ** 2) * width
    mean = fit.model.scale.inverse(fit.model.decoder[0].bias).double()
    exact = torch.distributions.MultivariateNormal(mean, covariance).log_prob(torch.as_tensor(data.positions))
    assert float((fit.log_density(data)[0] - exact.detach()).abs().mean()) < 0.02


def test_the_width_of_a_feature_changes_nothing(linear):
    """Negative control of a fixed noise: with it, the unit of length would weigh reconstruction against prior."""
    data, _ = linear
    wide = Frames.from_numpy(10 * data.positions, unit="reduced", temperature_kT=1.0)
    again = bcg.fit(Autoencoder(latent_dim=2, hidden=()), wide, **{**LINEAR, "steps": 50})
    first = bcg.fit(Autoencoder(latent_dim=2, hidden=()), data, **{**LINEAR, "steps": 50})
    torch.testing.assert_close(again.cv(wide).mean, first.cv(data).mean, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_regularisation_does_what_it_says():
    data = frames()
    settings = {**LINEAR, "steps": 250}
    strong = {"gradient": 3.0, "covariance": 100.0, "variance": 0.0}
    free, held = (
        bcg.fit(Autoencoder(latent_dim=2, hidden=(), regularise=terms), data, **settings) for terms in ({}, strong)
    )
    assert (held.model.kind, held.model.additive, free.model.kind) == ("generalised", False, "evidence")

    def slope(fit) -> float:
        return fit.model.encoder.net[0].weight[:2].square().sum().item()

    assert slope(held) < 0.5 * slope(free)
    assert abs(np.cov(held.cv(data).mean.numpy().T)[0, 1]) < 1e-3


def test_rayleigh_quotients_of_functions_of_the_cvs():
    """Mean square slope over variance, the slope of the function of the CV of the standardised coordinate."""
    x = np.random.default_rng(0).normal(size=(200, 1))
    data = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    model = Autoencoder(latent_dim=1, hidden=(4,), regularise={"rayleigh": 1.0})
    model.setup(data)
    y = model.scale(torch.as_tensor(data.positions))
    slopes = torch.autograd.functional.jacobian(lambda v: model.functions(model.encoder(v).mean).sum(), y)
    variance = model.functions(model.encoder(y).mean).var(correction=0)
    torch.testing.assert_close(model._penalty(y, None), torch.as_tensor(slopes).square().mean() / variance)


def test_unknown_terms_are_refused():
    with pytest.raises(ModelError, match=r"no term smooth; there are gradient"):
        Autoencoder(regularise={"smooth": 1.0})
