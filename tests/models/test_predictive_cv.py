"""PredictiveCV against exact answers: with a linear decoder it is factor analysis."""

import mdtraj
import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import DataError, ModelError
from bayescg.models import PredictiveCV

LOADINGS = np.array([[1.5, 0.0], [1.0, 0.5], [-0.8, 1.0], [0.3, -1.2], [0.0, 0.7], [0.6, 0.1]])
NOISE = np.array([0.3, 0.5, 0.4, 0.6, 0.3, 0.8])


def linear_frames(n: int = 300, latent: int = 2, **more) -> Frames:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, latent)) @ LOADINGS[:, :latent].T + NOISE * rng.normal(size=(n, 6)) + np.arange(6)
    return Frames.from_numpy(x, unit="reduced", temperature_kT=1.0, **more)


def maximum_likelihood(covariance: np.ndarray, latent: int) -> np.ndarray:
    """Factor-analysis covariance W W^T + Psi of largest likelihood (EM of Rubin and Thayer, 1982)."""
    psi = np.diag(covariance).copy()
    w = np.linalg.eigh(covariance)[1][:, -latent:]
    for _ in range(20_000):
        beta = np.linalg.solve(w @ w.T + np.diag(psi), w).T
        second = np.eye(latent) - beta @ w + beta @ covariance @ beta.T
        w_new = np.linalg.solve(second, beta @ covariance).T
        psi = np.diag(covariance - w_new @ beta @ covariance)
        if np.abs(w_new - w).max() < 1e-10:
            break
        w = w_new
    return w @ w.T + np.diag(psi)


def implied(fit) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the frames that a linear fit stands for."""
    model = fit.model
    width = model.scale.width.double()
    w = width[:, None] * model.decoder[0].weight.double()
    noise = width * model.log_noise.double().exp()
    mean = model.scale.mean.double() + width * model.decoder[0].bias.double()
    return mean.detach().numpy(), (w @ w.T + torch.diag(noise**2)).detach().numpy()


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Kullback-Leibler divergence of centred Gaussians, in nats: what the wrong covariance costs a frame."""
    r = np.linalg.solve(q, p)
    return 0.5 * (np.trace(r) - len(p) - np.linalg.slogdet(r)[1])


def linear_fit(frames: Frames, latent: int = 2, **settings):
    defaults = {"steps": 800, "validation": 0.0, "uncertainty": "none", "learning_rate": 0.1}
    return bcg.fit(PredictiveCV(latent_dim=latent, hidden=()), frames, **{**defaults, **settings})


@pytest.fixture(scope="module")
def fitted():
    frames = linear_frames()
    return frames, linear_fit(frames)


# what maximum likelihood itself is off the truth by: about (free parameters) / (2 N) = 0.04 nats a frame
TOLERANCE = 3e-3


def test_linear_decoder_is_factor_analysis(fitted):
    frames, fit = fitted
    exact = maximum_likelihood(np.cov(frames.positions.T, bias=True), 2)
    mean, covariance = implied(fit)
    assert divergence(exact, covariance) < TOLERANCE
    np.testing.assert_allclose(mean, frames.positions.mean(0), atol=0.05)


@pytest.mark.slow  # by default two latent variables are two factors
def test_one_latent_variable_is_one_factor():
    frames = linear_frames(latent=1)
    exact = maximum_likelihood(np.cov(frames.positions.T, bias=True), 1)
    assert divergence(exact, implied(linear_fit(frames, latent=1))[1]) < TOLERANCE


def test_one_latent_variable_too_few_costs_likelihood(fitted):
    frames, fit = fitted
    small = linear_fit(frames, latent=1, steps=500)
    sample = np.cov(frames.positions.T, bias=True)
    gap = divergence(sample, implied(small)[1]) - divergence(sample, implied(fit)[1])
    assert gap > 0.3
    assert float(fit.log_density(frames).mean() - small.log_density(frames).mean()) == pytest.approx(gap, abs=0.02)


def exact_log_density(fit, frames) -> torch.Tensor:
    mean, covariance = implied(fit)
    normal = torch.distributions.MultivariateNormal(torch.as_tensor(mean), torch.as_tensor(covariance))
    return normal.log_prob(torch.as_tensor(frames.positions).double())


def test_log_density_is_the_exact_one(fitted):
    frames, fit = fitted
    found = torch.stack([fit.log_density(frames, seed=s)[0] for s in range(12)]).double()
    error = found.std(0) / len(found) ** 0.5
    difference = found.mean(0) - exact_log_density(fit, frames)
    # the logarithm of an average is low by half its relative variance
    assert (difference.abs() < 6 * error + found.var(0) + 2e-5).all()
    assert difference.abs().mean() < 0.01


def test_log_density_rises_to_the_exact_one_when_the_guide_is_off(fitted):
    frames, _ = fitted
    fit = linear_fit(frames, steps=30)
    exact = exact_log_density(fit, frames)
    gaps = [float((exact - fit.log_density(frames, particles=k)[0]).mean()) for k in (1, 16, 256, 4096)]
    assert gaps[0] > 2 * gaps[1] > 0.02
    assert abs(gaps[2]) < 0.05
    assert abs(gaps[3]) < 0.02


def test_guide_is_the_exact_posterior(fitted):
    frames, fit = fitted
    x = frames.positions[:200]
    model = fit.model
    w = (model.scale.width[:, None] * model.decoder[0].weight).double().detach().numpy()
    psi = np.diag((model.scale.width * model.log_noise.exp()).double().detach().numpy() ** -2)
    covariance = np.linalg.inv(np.eye(2) + w.T @ psi @ w)
    mean = (x - implied(fit)[0]) @ psi @ w @ covariance
    cv = fit.cv(x)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(cv.mean, mean, atol=0.25 * sd.max())
    np.testing.assert_allclose(cv.stddev, np.broadcast_to(sd, cv.stddev.shape), rtol=0.15)
    quality = fit.guide_quality(frames[:200])
    k, ess = quality["pareto_k"], quality["ess_fraction"]
    assert k < 0.7
    assert ess > 0.9


def test_generated_frames_have_the_implied_moments(fitted):
    _, fit = fitted
    mean, covariance = implied(fit)
    x = fit.generate(20_000).double().numpy().reshape(-1, 6)
    np.testing.assert_allclose(x.mean(0), mean, atol=5 * np.sqrt(np.diag(covariance).max() / 2e4))
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=6 * np.diag(covariance).max() * np.sqrt(2 / 2e4))


@pytest.mark.parametrize(
    "written", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["weighted", "written out"]
)
def test_weights_count_frames(written):
    """Frames of weight 4 are four frames each, or written out: the answer is that of the weighted covariance."""
    plain = linear_frames()
    x = plain.positions
    weights = np.where(x[:, 0] > 0.5, 4.0, 1.0)
    frames = linear_frames(weights=weights)
    if written:
        repeated = np.repeat(x, weights.astype(int), axis=0)
        frames = Frames.from_numpy(repeated, unit="reduced", temperature_kT=1.0)
    mean, covariance = implied(linear_fit(frames))
    exact_mean = np.average(x, axis=0, weights=weights)
    exact = maximum_likelihood(np.cov(x.T, bias=True, aweights=weights), 2)
    assert divergence(exact, covariance) < TOLERANCE
    np.testing.assert_allclose(mean, exact_mean, atol=0.06)
    assert np.abs(exact_mean - x.mean(0)).max() > 0.3


@pytest.fixture(scope="module")
def chain():
    """Eighty conformations of five carbon atoms that bend along one direction, with rigid motion left out."""
    top = mdtraj.Topology()
    residue = top.add_residue("CHN", top.add_chain())
    for i in range(5):
        top.add_atom(f"C{i}", mdtraj.element.carbon, residue)
    rng = np.random.default_rng(1)
    shape = rng.normal(scale=0.2, size=(1, 5, 3))
    bend = rng.normal(size=(80, 1, 1)) * rng.normal(scale=0.05, size=(1, 5, 3))
    return top, (shape + bend + 0.005 * rng.normal(size=(80, 5, 3))).astype(np.float32)


def chain_fit(chain, aligned: bool, **settings):
    top, x = chain
    features = bcg.features.aligned(top, reference=x[0], select="all") if aligned else None
    frames = Frames.from_numpy(x, unit="nm", temperature=300.0)
    model = PredictiveCV(features, latent_dim=1, hidden=(8,))
    return bcg.fit(model, frames, **{"steps": 100, "uncertainty": "none", **settings})


def test_cv_of_aligned_features_does_not_see_rigid_motion(chain):
    x = torch.as_tensor(chain[1])
    fit, flat = chain_fit(chain, aligned=True), chain_fit(chain, aligned=False)
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    moved = x @ (q * torch.det(q)).T + torch.tensor([1.0, -2.0, 0.5])
    torch.testing.assert_close(fit.cv(moved).mean, fit.cv(x).mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(fit.cv(moved).stddev, fit.cv(x).stddev, rtol=1e-3, atol=1e-3)
    assert (flat.cv(moved).mean - flat.cv(x).mean).abs().max() > 0.5
    # a mirror image is another molecule
    assert (fit.cv(x * torch.tensor([1.0, 1.0, -1.0])).mean - fit.cv(x).mean).abs().max() > 0.1


def test_generated_conformations_are_positions_one_set_a_refit(chain):
    x = chain_fit(chain, aligned=True, steps=300, uncertainty="bootstrap", members=3, learning_rate=1e-2).generate(50)
    assert x.shape == (2, 50, 5, 3)  # the first refit is the trained model, the others are the draws
    distance = np.linalg.norm(chain[1][:, 0] - chain[1][:, 4], axis=1)
    found = (x[:, :, 0] - x[:, :, 4]).norm(dim=-1).numpy()
    assert abs(found.mean() - distance.mean()) < 2 * distance.std()


def test_features_that_lose_the_positions_cannot_generate(chain):
    top, x = chain
    frames = Frames.from_numpy(x, unit="nm", temperature=300.0)
    model = PredictiveCV(bcg.features.distances(top, pairs=[(0, 1), (1, 4)]), latent_dim=1, hidden=(4,))
    fit = bcg.fit(model, frames, steps=5, uncertainty="none")
    with pytest.raises(ModelError, match="aligned"):
        fit.generate(3)
    assert fit.posterior(draws=4)["posterior_predictive"]["x"].dims == ("chain", "draw", "frame", "coordinate")


@pytest.mark.parametrize("ask", ["cv", "cv_draws", "log_density"])
def test_frames_of_another_number_of_coordinates_are_refused(toy_frames, ask):
    told = "reads 4 coordinates a frame, these frames have 6.*dim=6"
    with pytest.raises(DataError, match=told):
        bcg.fit(PredictiveCV(latent_dim=1, dim=4), toy_frames(dim=6), steps=1)
    fit = bcg.fit(PredictiveCV(latent_dim=1, hidden=()), toy_frames(dim=4), steps=1, uncertainty="none")
    with pytest.raises(DataError, match=told):
        getattr(fit, ask)(toy_frames(dim=6))


def test_published_frames_are_split_by_the_cv(published):
    """One fit of the published frames: psi, which tells alpha from beta, is readable from two CVs."""
    frames = bcg.data.Frames.from_numpy(
        np.loadtxt(published / "dataset_100.txt").T.reshape(-1, 22, 3), unit="angstrom", temperature=330.0
    )
    features = bcg.features.aligned(str(published / "ala2.pdb"))
    fit = bcg.fit(PredictiveCV(features, hidden=(16,)), frames, steps=400, uncertainty="none", learning_rate=1e-2)
    z = fit.cv(frames).mean
    top = mdtraj.load_topology(str(published / "ala2.pdb"))
    psi = torch.as_tensor(mdtraj.compute_psi(mdtraj.Trajectory(frames.positions, top))[1][:, 0])
    alpha = (psi > np.deg2rad(-120)) & (psi < np.deg2rad(60))
    nearest = torch.cdist(z, z).fill_diagonal_(float("inf")).topk(5, largest=False).indices
    voted = alpha[nearest].float().mean(1) > 0.5
    assert (voted == alpha).float().mean() > 0.85
