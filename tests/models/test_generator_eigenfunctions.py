"""GeneratorEigenfunctions against finite volumes, on independent exact draws; derivatives against autograd."""

from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine

import bayescg as bcg
from bayescg import nets
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError
from bayescg.modelling import Batch
from bayescg.models import GeneratorEigenfunctions
from bayescg.sampling import equilibrium
from bayescg.systems import CurvedWell, Prinz, QuadrupleWell, QuarticDoubleWell, ThreeWellRing
from tests.benchmarks.penalised import PenalisedEigenfunctions


def ritz(fit, frames, modes: int) -> np.ndarray:
    """Eigenvalues in the fit's basis over all frames, by autograd and in double precision."""
    model, x = fit.model.double(), torch.as_tensor(frames.positions, dtype=torch.float64)
    w = torch.ones(len(x)) if frames.weights is None else torch.as_tensor(frames.weights)
    w = (w / w.sum()).double()
    values, pull = torch.func.vjp(model.basis, x)[:2]
    rows = [pull(torch.eye(values.shape[1]).double()[i].expand_as(values))[0] for i in range(values.shape[1])]
    g = torch.stack(rows, 1).detach()
    a = torch.einsum("n,nid,njd->ij", w, g, g) * float(model.diffusion)
    centred = (values - w @ values).detach()
    spread, vectors = torch.linalg.eigh((w[:, None] * centred).T @ centred)
    whiten = vectors[:, spread > 1e-10 * spread[-1]] / spread[spread > 1e-10 * spread[-1]].sqrt()
    model.float()
    return torch.linalg.eigvalsh(whiten.T @ a @ whiten)[:modes].numpy()


def correlation(fit, frames, exact) -> np.ndarray:
    """Squared correlation of each CV with the exact eigenfunction, over the frames."""
    f = fit.cv(frames).mean.double().numpy()
    phi = exact.eigenfunctions(torch.as_tensor(frames.positions, dtype=torch.float64)).numpy()
    w = np.ones(len(f)) if frames.weights is None else frames.weights
    c = np.cov(f.T, phi.T, aweights=w)
    k = f.shape[1]
    return np.diag(c[:k, k:]) ** 2 / np.diag(c[:k, :k]) / np.diag(c[k:, k:])


# Errors: three times the standard deviation of Rayleigh-Ritz values in the exact eigenfunctions over 20 such data sets
# (in parts of the eigenvalue), and 1 % for the basis.
@pytest.mark.parametrize(
    ("system", "sd"),
    [
        pytest.param(QuarticDoubleWell(), (0.011, 0.007), marks=pytest.mark.slow),
        pytest.param(QuarticDoubleWell(temperature_kT=0.25), (0.036, 0.024), marks=pytest.mark.slow),
        (Prinz(), (0.047, 0.022, 0.012)),
    ],
)
def test_eigenvalues_and_functions_of_wells_on_a_line(system, sd):
    frames = equilibrium(system, 40_000, seed=1)
    fit = bcg.fit(GeneratorEigenfunctions(len(sd), hidden=(24, 16)), frames, steps=100, batch_size=4096, seed=0)
    exact = bcg.truth.spectrum(system, modes=len(sd))
    found = ritz(fit, frames, len(sd))
    assert (np.abs(found / exact.eigenvalues - 1) < 0.01 + 3 * np.array(sd)).all(), found
    assert (correlation(fit, frames, exact) > 0.98).all()


def weighted(system, weights: bool, draws: int):
    """Frames at kT = 1, to be weighted to the lower temperature of a system."""
    hot = equilibrium(type(system)(temperature_kT=1.0), draws, seed=2)
    w = np.exp(-(1 / system.kT - 1.0) * np.asarray(hot.energy, dtype=np.float64))
    return Frames.from_numpy(
        hot.positions, unit="reduced", temperature_kT=system.kT, weights=w if weights else None, energy=hot.energy
    )


def test_weighted_frames_answer_for_another_temperature():
    """Without the weights the answer is that of the temperature the frames come from, which is three times as fast."""
    system = CurvedWell(temperature_kT=0.5)
    exact = bcg.truth.spectrum(system, modes=2)
    found = {}
    for use in (True, False):
        frames = weighted(system, use, 40_000 if use else 10_000)
        fit = bcg.fit(
            GeneratorEigenfunctions(2, hidden=(24, 16)), frames, steps=60, batch_size=2048, seed=0, compile="trace"
        )
        found[use] = ritz(fit, frames, 2)
        if use:
            assert (correlation(fit, frames, exact) > 0.98).all()
    assert (np.abs(found[True] / exact.eigenvalues - 1) < 0.01 + 3 * np.array([0.010, 0.006])).all(), found[True]
    assert found[False][0] / exact.eigenvalues[0] == pytest.approx(0.5 * 0.4482 / 0.1600, rel=0.06)


def test_weights_that_leave_nothing_are_refused_with_the_effective_sample_size():
    hot = equilibrium(ThreeWellRing(50, temperature_kT=2.0), 5000, seed=0)
    w = np.exp(-0.5 * np.asarray(hot.energy, dtype=np.float64))
    frames = Frames.from_numpy(hot.positions, unit="reduced", temperature_kT=1.0, weights=w)
    with pytest.raises(DataError, match=r"effective sample size of .* of 4000 frames"):
        bcg.fit(GeneratorEigenfunctions(), frames)


def test_derivatives_and_the_loss_are_those_of_autograd():
    """The batch's loss is the sum of roots of generalised eigenvalues with noise, also where the diffusion varies."""

    def diffusion(x):
        return 0.5 + x.square() / (1 + x.square())

    frames = equilibrium(QuadrupleWell(), 600, seed=0)
    model = GeneratorEigenfunctions(2, diffusion=diffusion, hidden=(6, 4))
    model.setup(frames)
    model.double()
    x = torch.as_tensor(frames.positions, dtype=torch.float64)
    values, slopes = model.forms.net.derivatives(model.scale(x), torch.eye(2).double())
    jacobian = torch.vmap(torch.func.jacrev(model.basis))(x[:, None])[:, 0, :, 0]
    torch.testing.assert_close(slopes / model.scale.width[:, None], jacobian.mT)
    w = torch.linspace(1, 2, 600).double()
    batch = Batch(x=model.inputs(x), weight=w, total=600)
    sites: Any = poutine.trace(model.model).get_trace(batch).nodes
    w = w / w.sum()
    a = torch.einsum("n,nid,nd,njd->ij", w, jacobian, diffusion(x), jacobian)
    b = torch.cov(values.T, aweights=w, correction=0)
    noise = model.ritz.noise * torch.eye(4).double()
    noisy = torch.linalg.solve(b + noise, a + model.ritz.decay * model.ritz.rate * noise)
    exact = torch.linalg.eigvals(noisy).real.sort().values[:2]
    prior = model.sparsity * model.forms.norms().detach().log1p().sum()
    found = -sites["rayleigh"]["fn"].log_factor.detach()
    expected = (exact.detach() / model.ritz.rate).sqrt().sum() + prior
    assert float(found[0]) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("count", "doubted"), [(1000, True), (10_000, False)])
def test_functions_that_follow_the_noise_of_few_frames_are_told(count, doubted):
    """In 20 dimensions, without a prior: 1000 frames are too few for the net, 10 000 are not."""
    frames = equilibrium(ThreeWellRing(20), count, seed=1)
    model = GeneratorEigenfunctions(1, hidden=(16, 12), sparsity=0.0)
    fit = bcg.fit(model, frames, steps=60, batch_size=1024, seed=0, compile="trace")
    warnings = bcg.analysis.spectrum(fit, frames, modes=1, draws=50).warnings
    assert any("follow its noise" in w for w in fit.diagnostics["warnings"]) == doubted
    assert any("follow its noise" in w for w in warnings) == doubted


@pytest.mark.parametrize(
    ("seed", "settings"),
    [
        (2, {"batch_size": 1024}),
        pytest.param(2, {}, marks=pytest.mark.slow),
        pytest.param(3, {}, marks=pytest.mark.slow),
    ],
    ids=["in small batches", "at the defaults", "at the defaults, another seed"],
)
def test_a_stiff_well_is_learned(seed, settings):
    """Functions that set a few rare frames of a batch apart would win there, and leave the slow modes out."""
    system = CurvedWell()
    frames = equilibrium(system, 100_000, seed=0)
    found = ritz(bcg.fit(GeneratorEigenfunctions(3), frames, seed=seed, compile="trace", **settings), frames, 3)
    assert found == pytest.approx(bcg.truth.spectrum(system, modes=3).eigenvalues, rel=0.03)


@pytest.mark.parametrize("sparsity", [0.002, pytest.param(0.0, marks=pytest.mark.slow)])
def test_inputs_that_do_not_matter_are_left_out(sparsity):
    frames = equilibrium(ThreeWellRing(20), 20_000, seed=0)
    model = GeneratorEigenfunctions(2, hidden=(16, 12), sparsity=sparsity)
    trained: Any = bcg.fit(model, frames, steps=150, batch_size=2048, seed=0, compile="trace").model
    norms = trained.forms.norms().detach()
    assert (norms[:2] > 1).all()
    assert bool((norms[2:] < 0.1).all()) == (sparsity > 0), norms


def test_scaling_time_and_length_scales_the_eigenvalues_only():
    """Another unit of length and another diffusion: the functions are the same, the rates in proportion."""
    frames = equilibrium(QuarticDoubleWell(), 4000, seed=3)
    longer = Frames.from_numpy(10 * np.asarray(frames.positions), unit="reduced", temperature_kT=1.0)
    a = bcg.fit(GeneratorEigenfunctions(2, hidden=(16, 8)), frames, steps=40, seed=1)
    b = bcg.fit(GeneratorEigenfunctions(2, hidden=(16, 8), diffusion=50.0), longer, steps=40, seed=1)
    assert ritz(b, longer, 2) == pytest.approx(0.5 * ritz(a, frames, 2), rel=1e-3)
    assert b.log[-1]["loss"] == pytest.approx(a.log[-1]["loss"], rel=1e-3)


def test_features_carry_their_own_diffusion():
    """Functions of a distance: its diffusion tensor is that of the chain rule, so the Dirichlet form is the same."""
    x = torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def features(x):
        d = x[:, 1:] - x[:, :1]
        return d.norm(dim=-1)

    per_coordinate = torch.linspace(0.5, 2.0, 9).double()
    jacobian = torch.vmap(torch.func.jacrev(lambda y: features(y[None])[0]))(x).flatten(2)
    exact = (jacobian * per_coordinate) @ jacobian.mT
    torch.testing.assert_close(nets.diffusion_tensor(features, x, per_coordinate), exact)
    torch.testing.assert_close(nets.diffusion_tensor(features, x, torch.diag(per_coordinate)), exact)
    torch.testing.assert_close(nets.diffusion_tensor(features, x, lambda y: per_coordinate.expand(len(y), 9)), exact)


@pytest.mark.slow
def test_the_penalty_finds_mixed_functions_below_its_threshold_and_the_modes_above():
    """Rates in units a hundred times larger: alpha = 20 is then below the threshold of the docstring."""
    system = QuarticDoubleWell()
    frames = equilibrium(system, 8000, seed=0)
    exact = bcg.truth.spectrum(system, modes=2)
    threshold = 1.0 * 0.6 * (6.004 - 0.749) / 0.4
    found = {}
    for unit in (1.0, 100.0):
        assert (unit * threshold < 20.0) == (unit == 1.0)
        model = PenalisedEigenfunctions(2, diffusion=unit, hidden=(16, 16), alpha=20.0)
        fit = bcg.fit(model, frames, steps=300, batch_size=2000, learning_rate=0.01, seed=0)
        found[unit] = correlation(fit, frames, exact)
    assert (found[1.0] > 0.95).all()
    assert found[100.0][1] < 0.9


@pytest.mark.parametrize("bad", [{"sparsity": 1.0}, {"modes": 0}, {"modes": 9, "hidden": (8,)}])
def test_arguments_that_nothing_takes_are_refused(bad):
    with pytest.raises(ConfigError):
        GeneratorEigenfunctions(**bad)


def test_refits_have_modes_of_their_own():
    frames = equilibrium(QuarticDoubleWell(), 1000, seed=0)
    fit = bcg.fit(
        GeneratorEigenfunctions(1, hidden=(8, 4)), frames, steps=30, uncertainty="bootstrap", members=3, seed=0
    )
    each = fit.cv_draws(frames)[..., 0]
    assert each.shape == (2, 1000)
    assert not torch.equal(each[0], each[1])
    assert torch.corrcoef(each)[0, 1] > 0.99
