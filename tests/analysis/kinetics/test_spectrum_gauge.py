"""Where eigenvalues coincide only the span of the eigenfunctions means anything: draws are turned onto each other."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import spectrum
from bayescg.analysis.kinetics import resample


def bumps(x):
    one = torch.tanh(x / 0.5), torch.tanh(x / 1.0) * x**2 / (1 + x**2)
    return torch.cat([*one, one[0][:, :1] * one[0][:, 1:], torch.tanh((x**2 - 1) / 0.5)], 1)


@pytest.fixture(scope="module")
def plane():
    """Two equal springs: the slowest eigenvalue, 1, is double."""
    return bcg.sampling.overdamped(bcg.systems.Harmonic((1.0, 1.0)), 2000, dt=0.02, chains=20, stride=10, seed=3)


def size_of_the_mean(found, x):
    """Variance over frames of the mean eigenfunctions, near one where the draws agree."""
    return found.eigenfunctions(x).mean("draw").values.var(0)


def test_a_degenerate_pair_is_turned_as_one(plane, monkeypatch):
    found = spectrum(lambda x: torch.cat([x, x**2], 1), plane, modes=2, draws=200)
    assert found.degenerate == [[0, 1]]
    assert any("cannot be told apart" in w for w in found.warnings)
    assert (size_of_the_mean(found, plane) > 0.95).all()
    monkeypatch.setattr(resample, "clusters", lambda values, sd: [[k] for k in range(len(values))])
    apart = spectrum(lambda x: torch.cat([x, x**2], 1), plane, modes=2, draws=200)
    assert (size_of_the_mean(apart, plane) < 0.9).any()


def test_a_pair_that_the_number_of_modes_cuts_is_seen(plane):
    found = spectrum(lambda x: torch.cat([x, x**2], 1), plane, modes=1, draws=200)
    assert found.degenerate == [[0, 1]]
    assert (size_of_the_mean(found, plane) > 0.95).all()


def test_the_span_of_the_pair_is_the_exact_one(plane):
    found = spectrum(lambda x: torch.cat([x, x**2], 1), plane, modes=2, draws=100)
    psi = found.eigenfunctions(plane).mean("draw").values
    x = plane.positions - plane.positions.mean(0)
    residual = x - psi @ np.linalg.lstsq(psi, x, rcond=None)[0]
    assert (1 - residual.var(0) / x.var(0) > 0.98).all()


@pytest.mark.slow
def test_the_symmetric_quadruple_well():
    system = bcg.systems.QuadrupleWell(temperature_kT=0.25)
    frames = bcg.sampling.overdamped(system, 400_000, dt=0.0025, chains=20, stride=40, seed=1)
    found = spectrum(bumps, frames, modes=3, draws=400)
    exact = bcg.truth.spectrum(system, modes=3)
    assert [0, 1] in [group[:2] for group in found.degenerate]
    assert (np.abs(found.mean.values - exact.eigenvalues) < 3 * found.sd.values).all()
    assert (found.sd.values < 0.15 * exact.eigenvalues).all()
    psi = found.eigenfunctions(frames[::20]).mean("draw").values[:, :2]
    true = exact.eigenfunctions(torch.as_tensor(frames.positions[::20])).numpy()[:, :2]
    residual = true - psi @ np.linalg.lstsq(psi, true, rcond=None)[0]
    assert (1 - residual.var(0) / true.var(0) > 0.98).all()


def test_refits_are_turned_onto_the_first(plane):
    """Draws of several bases, as of an ensemble, agree; what differs between bases is the parameters' part."""
    from bayescg.analysis.block_bootstrap import block_draws, inflation
    from bayescg.analysis.kinetics.covariances import accumulate

    found = []
    for angle in (0.0, 1.0):
        turn = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], dtype=torch.float32)
        basis = lambda x, turn=turn: x @ turn  # noqa: E731
        cov = accumulate(basis, plane, diffusion=1.0, blocks=40)
        ids = np.arange(len(cov))
        u = (plane.positions @ turn.numpy()).astype(np.float64)
        first = found[0] if found else None
        weights, factors = block_draws(ids, 50, 0), inflation(len(cov), 50, 0)
        found.append(resample.resample(cov, weights, factors, 2, None, u, first))
    np.testing.assert_allclose(found[0].rates, found[1].rates, atol=1e-6)
    np.testing.assert_allclose(found[0].functions, found[1].functions, atol=1e-4)


@pytest.mark.parametrize("uncertainty", ["none", "ensemble"])
def test_a_fit_brings_its_own_functions_and_their_uncertainty(uncertainty):
    model, frames, _ = bcg.models.GeneratorEigenfunctions.example()
    fit = bcg.fit(model, frames, steps=10, uncertainty=uncertainty, compile="off", seed=0)
    found = spectrum(fit, frames, modes=1, draws=40)
    assert ("parameter" in found.sd_by_source) == (uncertainty == "ensemble")
    square = sum(v**2 for v in found.sd_by_source.values() if v is not None)
    np.testing.assert_allclose(np.sqrt(square), found.sd.values)
    assert found.eigenfunctions(frames[:5]).shape == (40, 5, 1)
