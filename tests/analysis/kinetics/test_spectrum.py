"""Slow modes in given functions against exact answers: routes, weights, diffusion, gauge, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import spectrum
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError, ModelError


def powers(x):
    return torch.cat([x, x**2, x**3], 1)


def spring_frames(stiffness=(1.0,), steps=40_000, chains=4, **more):
    system = bcg.systems.Harmonic(stiffness)
    return bcg.sampling.overdamped(system, steps, dt=0.01, chains=chains, stride=10, **more)


@pytest.fixture(scope="module")
def spring():
    """Trajectories of the Ornstein-Uhlenbeck process, with eigenvalues 1, 2, 3."""
    return spring_frames()


@pytest.mark.parametrize("lag", [None, 0.3])
def test_eigenvalues_of_a_spring(spring, lag):
    found = spectrum(powers, spring, lag=lag, draws=400)
    low, high = found.ci90.values
    assert (np.abs(found.mean.values - [1, 2, 3]) < 3 * found.sd.values).all()
    assert (low < found.mean.values)[:2].all()
    assert (found.mean.values < high)[:2].all()
    assert np.isnan(low).tolist() == [k in found.refused for k in (1, 2, 3)]
    assert not {1, 2} & set(found.refused)
    assert (found.sd.values < 0.1 * np.array([1, 2, 3])).all()
    np.testing.assert_allclose(found.timescales * found.eigenvalues, 1.0)


def test_lagged_covariances_are_those_of_the_definition(spring):
    from bayescg.analysis.kinetics.covariances import accumulate

    frames = spring.subset(slice(0, 3000))
    u = frames.positions.astype(np.float64)
    x, y = u[:-7], u[7:]
    cov = accumulate(lambda x: x, frames, lag=0.7, blocks=30)
    a, b, mean = cov.mixed(np.ones((1, len(cov))))
    centre = 0.5 * (x.mean() + y.mean())
    np.testing.assert_allclose(b[0], 0.5 * ((x - centre) ** 2 + (y - centre) ** 2).mean(), rtol=1e-6)
    np.testing.assert_allclose(b[0] - a[0], ((x - centre) * (y - centre)).mean(), rtol=1e-5)
    np.testing.assert_allclose(mean[0] + cov.shift, centre, atol=1e-6)


def test_pairs_never_cross_the_end_of_a_trajectory():
    from bayescg.analysis.kinetics.covariances import accumulate

    x = np.repeat([0.0, 100.0, -50.0], [50, 70, 3])[:, None] + np.random.default_rng(0).normal(size=(123, 1))
    frames = Frames.from_numpy(x, unit="reduced", dt=1.0, trajectory=np.repeat([0, 1, 2], [50, 70, 3]))
    cov = accumulate(lambda x: x, frames, lag=5.0)
    assert cov.weight.sum() == 45 + 65
    assert cov.mixed(np.ones((1, len(cov))))[0][0, 0, 0] < 3


def test_weights_bring_frames_to_another_temperature():
    hot = bcg.systems.Harmonic((1.0,), temperature_kT=2.0)
    frames = bcg.sampling.overdamped(hot, 40_000, dt=0.01, chains=4, stride=10)
    weights = np.exp(-0.25 * frames.positions[:, 0] ** 2)  # to kT = 1
    found = spectrum(powers, replace(frames, weights=weights), diffusion=1.0, draws=400)
    assert (np.abs(found.mean.values - [1, 2, 3]) < 3 * found.sd.values).all()


def test_constant_and_state_dependent_diffusion_agree():
    frames = spring_frames((1.0, 4.0), steps=4000)
    given = [
        [2.0, 0.5],
        [[2.0, 0.0], [0.0, 0.5]],
        lambda x: torch.tensor([2.0, 0.5]).expand(len(x), 2),
        lambda x: torch.diag(torch.tensor([2.0, 0.5])).expand(len(x), 2, 2),
    ]
    means = [spectrum(powers, frames, diffusion=d, modes=2, draws=20).mean.values for d in given]
    for mean in means[1:]:
        np.testing.assert_allclose(mean, means[0], rtol=1e-6)


def test_gradients_forward_and_backward_agree():
    from bayescg.analysis.kinetics.integrands import _gradient

    x = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    few = torch.randn(12, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    basis = lambda x: torch.sin(x.flatten(1) @ few)  # noqa: E731
    many = lambda x: torch.cat([basis(x)] * 10, 1)  # noqa: E731
    value, backward = _gradient(basis, x)
    _, forward = _gradient(many, x)
    np.testing.assert_allclose(value, basis(x))
    np.testing.assert_allclose(forward[..., :2], backward, rtol=1e-12)


def test_functions_that_depend_on_each_other_do_no_harm(spring):
    alone = spectrum(powers, spring, draws=50)
    twice = spectrum(lambda x: torch.cat([powers(x), 2 * x - 1, 1 + 0 * x], 1), spring, draws=50)
    assert twice.rank <= 3
    np.testing.assert_allclose(twice.mean, alone.mean, rtol=1e-5)


def test_eigenfunctions_are_centred_normalised_and_aligned(spring):
    found = spectrum(powers, spring, draws=100)
    psi = found.eigenfunctions(spring.positions[::10])
    assert psi.dims == ("draw", "frame", "mode")
    mean = psi.mean("draw").values
    np.testing.assert_allclose(mean.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(mean.std(0), 1, atol=0.1)
    first = mean[:, 0] * np.sign(mean[0, 0] * spring.positions[0, 0])
    assert np.corrcoef(first, spring.positions[::10, 0])[0, 1] > 0.99
    fast = found.eigenfunction_moments(spring.positions[::10])
    np.testing.assert_allclose(fast[0], mean, atol=1e-9)
    np.testing.assert_allclose(fast[1], psi.std("draw").values, atol=1e-6)


def test_quantities_for_summaries(spring):
    one = spectrum(powers, spring, draws=50).quantities["timescale_1"]
    assert one.to_dict()["sd_by_source"]["sampling"] == pytest.approx(one.sd)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda f: spectrum(powers, replace(f, weights=np.arange(1.0, len(f) + 1)), lag=0.3), DataError, "path"),
        (lambda f: spectrum(powers, f, lag=0.25), DataError, "nearest"),
        (lambda f: spectrum(powers, f, lag=1e6), DataError, "shorter lag"),
        (lambda f: spectrum(powers, replace(f, weights=np.exp(20.0 * f.positions[:, 0]))), DataError, "effective"),
        (lambda f: spectrum(powers, f, modes=4), DataError, "independent functions"),
        (lambda f: spectrum(powers, f, diffusion=-1.0), ConfigError, "positive"),
        (lambda f: spectrum(lambda x: x.sum(), f), DataError, "must map"),
        (lambda f: spectrum(lambda x: x / 0.0, f), DataError, "not finite"),
        (lambda f: spectrum(bcg.models.PredictiveCV(None, latent_dim=1), f), ModelError, "no basis"),
        (lambda f: spectrum(powers, f, modes=0), ConfigError, "modes=0 must be a whole number, at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(spring, ask, error, message):
    with pytest.raises(error, match=message):
        ask(spring)
