"""Reversible deep MSM with a generator: its kernel by quadrature, its paths, and what a fit of either kind learns."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.models import ReversibleDeepMSM
from bayescg.truth.grid import Grid

GRID = torch.linspace(-6, 6, 2401, dtype=torch.float64)[:, None]
STEP = float(GRID[1] - GRID[0])


def kernel(states: int = 4, seed: int = 0) -> Any:
    """A model of one coordinate with random weights."""
    model: Any = ReversibleDeepMSM(
        states=states, hidden=(8,), generator="flow", layers=2, bins=4, dim=1, rank=1, lag=0.1
    )
    model = model.double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.25 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        model.densities.place[0] += torch.linspace(-1.5, 1.5, states)[:, None]
        model.densities.place[1] -= 0.5
    model.finish(None, None)
    return model


def fitted(model: Any, frames: Frames | None = None) -> bcg.Fit:
    values = {**{k: v.detach() for k, v in model.named_parameters()}, **dict(model.named_buffers())}
    posterior = bcg.inference.uncertainty.Posterior("none", values, {}, ("log_joint",))
    return bcg.Fit(model, posterior, {}, {}, {}, [], frames)


def reduced(x: Any, **rest: Any) -> Frames:
    return Frames.from_numpy(np.asarray(x), unit="reduced", temperature_kT=1.0, **rest)


def matrix(model: Any, joint: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Equilibrium probabilities of the points of the grid, and p(y | x) between them."""
    joint = model.equilibrium_joint() if joint is None else joint
    with torch.no_grad():
        mu = model.densities.equilibrium(joint).log_prob(GRID).exp() * STEP
        p = model.densities.transition(GRID, joint)
        rows = model.densities.log_prob(GRID).exp() * STEP
        return mu, p.state.probs @ rows.T


@pytest.mark.parametrize("seed", [0, 1])
def test_the_kernel_is_normalised_and_in_detailed_balance(seed):
    model = kernel(seed=seed)
    mu, p = matrix(model)
    one = torch.ones(len(GRID), dtype=torch.float64)
    torch.testing.assert_close(p.sum(1), one, rtol=0, atol=1e-4)  # of the quadrature
    flow = mu[:, None] * p
    torch.testing.assert_close(flow, flow.T, rtol=0, atol=1e-16)
    torch.testing.assert_close(mu @ p, mu, rtol=1e-3, atol=1e-9)
    # the density of a transition is that of the pair over that of its beginning
    x = GRID[::400]
    y = x.roll(1)
    now, later = (model.densities.log_prob(end).exp() for end in (x, y))
    pair = torch.einsum("ni,ij,nj->n", now, model.equilibrium_joint(), later)
    torch.testing.assert_close(model.transition(x).log_prob(y).exp() * model.log_equilibrium(x).exp(), pair)


def test_a_joint_that_is_not_symmetric_is_not_in_balance():
    """Negative control: what is learned of one direction alone."""
    model = kernel()
    joint = model.equilibrium_joint()
    joint = joint * torch.rand(joint.shape, generator=torch.Generator().manual_seed(0), dtype=joint.dtype)
    mu, p = matrix(model, joint / joint.sum())
    flow = mu[:, None] * p
    assert float((flow - flow.T).abs().sum() / 2) > 1e-2


def test_paths_are_draws_of_the_kernel():
    model = kernel()
    start = np.full((40_000, 1), 0.7)
    path = fitted(model).sample_path(reduced(start), steps=2, seed=0)
    assert len(path) == 80_000
    assert path.dt == 0.1
    _, p = matrix(model)
    edges = torch.linspace(-6, 6, 13)
    row = int(torch.argmin((GRID[:, 0] - 0.7).abs()))
    share = p[row]
    for step, now in enumerate((share, share @ p)):
        counts = np.histogram(path.positions[step::2, 0], edges)[0]
        expected = np.array([float(now[(GRID[:, 0] >= a) & (GRID[:, 0] < b)].sum()) for a, b in pairwise(edges)])
        error = np.sqrt(expected * (1 - expected) * 40_000) + 0.002 * 40_000 * expected + 1
        assert (np.abs(counts - 40_000 * expected) < 4 * error).all()


def test_accepted_steps_keep_the_distribution_of_a_system():
    """Whatever the model's own is, which its paths keep by themselves."""
    model, system = kernel(), bcg.systems.QuarticDoubleWell()
    generator = torch.Generator().manual_seed(0)
    mu = torch.softmax(system.log_prob(GRID), 0)
    start = GRID[torch.multinomial(mu, 4000, replacement=True, generator=generator)].numpy()
    fit = fitted(model, reduced(start))
    exact = float(mu @ GRID[:, 0].square())
    path = fit.sample_path(start, steps=30, seed=1, system=system)
    last = np.square(path.positions[29::30, 0])
    assert 0.05 < path.provenance["acceptance"] < 0.95
    assert abs(last.mean() - exact) < 4 * last.std() / 4000**0.5
    plain = np.square(fit.sample_path(start, steps=30, seed=1).positions[29::30, 0])
    assert abs(plain.mean() - exact) > 8 * plain.std() / 4000**0.5


JOINT = np.array([[0.44, 0.04, 0.02], [0.04, 0.23, 0.03], [0.02, 0.03, 0.15]])
CENTRE, SD = np.array([[0.0, 0.0], [2.0, 1.0], [0.0, 3.0]]), np.array([0.3, 0.6, 0.4])


def gaussians(n: int, seed: int) -> tuple[Frames, np.ndarray]:
    """Three Gaussians in the plane, between which a reversible chain jumps; and how often it did."""
    rng = np.random.default_rng(seed)
    state = np.zeros(n, dtype=int)
    for k in range(1, n):
        state[k] = rng.choice(3, p=JOINT[state[k - 1]] / JOINT[state[k - 1]].sum())
    counts = np.zeros((3, 3))
    np.add.at(counts, (state[:-1], state[1:]), 0.5 / (n - 1))
    x = CENTRE[state] + SD[state, None] * rng.normal(size=(n, 2))
    return reduced(x, dt=1.0), counts + counts.T


def log_next(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Exact log density of y given x of `gaussians`."""
    q, r = (np.exp(-0.5 * np.square((v[:, None] - CENTRE) / SD[:, None]).sum(-1)) / (2 * np.pi * SD**2) for v in (x, y))
    return np.log(np.einsum("ni,ij,nj->n", q, JOINT, r) / (q @ JOINT.sum(1)))


@pytest.fixture(scope="module")
def trained() -> bcg.Fit:
    frames = gaussians(4000, 0)[0]
    model = ReversibleDeepMSM(states=3, hidden=(8,), generator="flow", layers=2, bins=4, concentration=0.1)
    settings: Any = {"steps": 120, "batch_size": 500, "learning_rate": 0.02, "validation": 0.0, "compile": "trace"}
    return bcg.fit(model, frames.lagged(1.0), **settings)


def test_a_fit_loses_little_of_the_exact_density(trained):
    model: Any = trained.model
    test = gaussians(2000, 1)[0].positions
    x = torch.as_tensor(test, dtype=torch.float32)
    with torch.no_grad():
        lost = log_next(test[:-1], test[1:]) - model.transition(x[:-1]).log_prob(x[1:]).numpy()
    assert -4 * lost.std() / 2000**0.5 < lost.mean() < 0.05
    order = np.argsort(-model.occupation.numpy())
    counts = gaussians(4000, 0)[1]
    np.testing.assert_allclose(model.equilibrium_joint().detach().numpy()[order][:, order], counts, atol=0.01)
    # its states are where its densities are
    chi = model.basis(x)
    torch.testing.assert_close(chi.sum(1), torch.ones_like(chi[:, 0]))
    assert float(trained.cv(test).mean.max(1).values.mean()) > 0.95


def test_a_saved_fit_draws_the_same_path(trained, tmp_path):
    frames = gaussians(5, 2)[0]
    trained.save(tmp_path / "fit")
    loaded = bcg.Fit.load(tmp_path / "fit")
    path = trained.sample_path(frames, steps=3, seed=4)
    np.testing.assert_array_equal(loaded.sample_path(frames, steps=3, seed=4).positions, path.positions)
    assert not np.array_equal(trained.sample_path(frames, steps=3, seed=5).positions, path.positions)
    assert trained.generate(6).shape == (1, 6, 2)
    with pytest.raises(DataError, match="give Frames as x0"):
        loaded.sample_path(frames.positions, steps=3)
    with pytest.raises(DataError, match=r"give one or more configurations of shape \(2,\)"):
        trained.sample_path(np.zeros((4, 3)), steps=3)
    with pytest.raises(ModelError, match="no parameter uncertainty"):
        trained.sample_path(frames, steps=3, draws=2)


def test_frames_of_a_path_have_the_temperature_of_what_it_keeps(trained):
    hot = replace(gaussians(5, 2)[0], temperature_kT=3.0)
    assert trained.sample_path(hot, steps=1).temperature_kT == 1.0  # of the training, not of the starts
    cold = bcg.systems.Harmonic([1.0, 1.0], temperature_kT=0.4)
    assert trained.sample_path(hot, steps=1, system=cold).temperature_kT == 0.4
    warm = bcg.systems.System(lambda x: x.square().sum(-1), dim=2, temperature=300.0)
    path = trained.sample_path(hot, steps=1, system=warm)
    assert (path.temperature, path.temperature_kT) == (300.0, None)


@pytest.mark.parametrize(
    ("x0", "system", "error", "says"),
    [
        (np.full((3, 2), 1e200), None, DataError, "have no density in the model"),
        (0.3, None, DataError, r"x0 has shape \(\); give one or more"),
        ([0.3, 1.0], None, DataError, r"an array \(n, 2\)"),
        ("start", None, DataError, "array of numbers"),
        (np.zeros((1, 2)), "prinz", ConfigError, "not a System of bayescg"),
        (np.zeros((1, 2)), bcg.systems.Prinz(), ConfigError, "system has 1 coordinates, and x0 2"),
    ],
)
def test_what_begins_no_path_is_refused(trained, x0, system, error, says):
    with pytest.raises(error, match=says):
        trained.sample_path(x0, steps=2, system=system)


def test_a_loaded_fit_refuses_starts_of_another_size(trained, tmp_path):
    trained.save(tmp_path / "fit")
    with pytest.raises(DataError, match="reads 2 coordinates a frame"):
        bcg.Fit.load(tmp_path / "fit").sample_path(reduced(np.zeros((3, 4))), steps=1)


def test_each_refit_draws_paths_of_its_own():
    frames = gaussians(600, 0)[0]
    model = ReversibleDeepMSM(states=2, hidden=(4,), generator="flow", layers=1, bins=4)
    fit = bcg.fit(
        model, frames.lagged(1.0), steps=10, batch_size=200, uncertainty="bootstrap", members=3, compile="off"
    )
    path = fit.sample_path(frames[:10], steps=4, draws=2)
    assert len(path) == 80
    assert path.provenance["potential_draws"] == 2
    assert not np.array_equal(path.positions[:40], path.positions[40:])


def test_arguments_are_checked():
    with pytest.raises(ConfigError, match="generator='gan' is not known"):
        ReversibleDeepMSM(generator="gan")
    model, pairs, _ = ReversibleDeepMSM.example()
    model.setup(pairs)
    with pytest.raises(ModelError, match="make it with generator='flow'"):
        fitted(model, pairs.frames).sample_path(pairs.frames[:2], steps=1)
    fit = bcg.fit(
        bcg.models.PredictiveCV(latent_dim=1, hidden=(4,)), pairs.frames, steps=2, uncertainty="none", compile="off"
    )
    with pytest.raises(ModelError, match="nothing of what follows a frame"):
        fit.sample_path(pairs.frames[:2], steps=1)


CELLS = 400


def prinz(seed: int) -> tuple[Frames, Grid]:
    """T = 1000 by exact transition probabilities."""
    grid = Grid(bcg.systems.Prinz(), (CELLS,))
    step = np.cumsum(expm(0.01 * grid.generator().toarray()), 1)
    rng = np.random.default_rng([seed, 17])
    mu = torch.softmax(bcg.systems.Prinz().log_prob(torch.as_tensor(grid.axes[0])[:, None]), 0).numpy()
    states = np.empty((10, 10_000), dtype=int)
    states[:, 0] = rng.choice(CELLS, 10, p=mu)
    for k in range(1, states.shape[1]):
        states[:, k] = np.minimum((step[states[:, k - 1]] < rng.random(10)[:, None]).sum(1), CELLS - 1)
    x = grid.axes[0][states] + grid.widths[0] * (rng.random(states.shape) - 0.5)
    return reduced(x.reshape(-1, 1), dt=0.01, trajectory=np.repeat(np.arange(10), 10_000)), grid


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_twelve_states_of_prinz(seed):
    """Timescales, populations and density of the kernel itself, evaluated on a grid, beside the exact ones."""
    frames, grid = prinz(seed)
    model = ReversibleDeepMSM(states=12, hidden=(16,), generator="flow", layers=1, concentration=0.02)
    fit = bcg.fit(
        model, frames.lagged(0.05), steps=1200, batch_size=2048, learning_rate=0.02, compile="trace", seed=seed
    )  # fmt: skip
    kernel: Any = fit.model.double()
    generator, width = grid.generator().toarray(), grid.widths[0]
    exact = expm(0.05 * generator)
    pi = np.linalg.matrix_power(exact, 4096)[0]
    x = torch.as_tensor(grid.axes[0])[:, None]
    with torch.no_grad():
        mu = kernel.log_equilibrium(x).exp().numpy() * width
        p = torch.stack([kernel.transition(x).log_prob(y.expand(CELLS, 1)) for y in x], 1).exp().numpy() * width
    flow = mu[:, None] * p
    assert np.abs(flow - flow.T).sum() / 2 < 1e-6
    assert np.abs(mu - pi).sum() / 2 < 0.03
    times = -0.05 / np.log(np.linalg.eigvalsh(flow / np.sqrt(np.outer(mu, mu)))[-4:-1][::-1])
    truth = -1 / np.sort(np.linalg.eigvals(generator).real)[-4:-1][::-1]
    assert (np.abs(times / truth - 1) < [0.12, 0.08, 0.08]).all()
    of_pairs = pi[:, None] * exact
    inside = of_pairs > 1e-14
    assert (of_pairs * np.log(np.where(inside, exact / p, 1.0))).sum() < 0.006
    path = fit.sample_path(frames[:100], steps=100, seed=seed, system=bcg.systems.Prinz())
    assert path.provenance["acceptance"] > 0.9
