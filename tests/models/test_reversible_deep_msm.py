"""Reversible deep MSM: a density in detailed balance, checked by quadrature, and what its two spectra are."""

from typing import Any

import numpy as np
import pyro
import pytest
import torch

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.models import ReversibleDeepMSM

LAG = 0.1


def on_a_grid(states: int = 4, seed: int = 0) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """A model with random weights, grid points of (x^2 - 1)^2 and their equilibrium probabilities."""
    x = torch.linspace(-2.5, 2.5, 801, dtype=torch.float64)[:, None]
    mu = torch.softmax(-((x[:, 0] ** 2 - 1) ** 2), 0)
    model: Any = ReversibleDeepMSM(states=states, hidden=(8,), dim=1, lag=LAG, rank=1).double()
    torch.manual_seed(seed)
    with torch.no_grad():
        model.reset()
        model.net.affine.normal_()
        model.log_joint.add_(0.5 * torch.randn_like(model.log_joint))
        model.occupation.copy_(mu @ model.basis(x))
    return model.eval(), x, mu


def transition_density(model: Any, x: torch.Tensor) -> torch.Tensor:
    """p(y | x) / mu(y) at all pairs of grid points, as the program scores them."""
    chi = model.basis(x).detach()
    return chi @ model.kernel(model.occupation).detach() @ chi.T


@pytest.mark.parametrize("states", [2, 4, 7])
def test_the_density_is_positive_normalised_and_in_detailed_balance(states):
    model, x, mu = on_a_grid(states)
    ratio = transition_density(model, x)
    assert float(ratio.min()) >= 0
    assert model.residual() < 1e-6
    torch.testing.assert_close(
        ratio @ mu, torch.ones(801, dtype=torch.float64), rtol=0, atol=2 * model.residual() + 1e-12
    )
    flow = mu[:, None] * ratio * mu
    torch.testing.assert_close(flow, flow.T, rtol=0, atol=1e-18)
    assert float(ratio.max()) <= 1 / float(model.occupation.min())


def test_a_wrong_occupation_is_not_normalised():
    """Negative control of the quadrature."""
    model, x, mu = on_a_grid()
    model.occupation.copy_(torch.roll(model.occupation, 1))
    assert float((transition_density(model, x) @ mu - 1).abs().max()) > 0.1


def test_its_eigenvalues_are_those_of_the_operator_on_the_grid():
    model, x, mu = on_a_grid()
    root = mu.sqrt()
    operator = root[:, None] * transition_density(model, x) * root
    exact = torch.linalg.eigvalsh(operator)
    exact = exact[exact.abs() > 1e-10].flip(0)[1:]  # it is of rank 4
    rows = torch.multinomial(mu, 400_000, replacement=True, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.eigenvalues(x[rows]), exact, atol=3e-3, rtol=0)
    assert 0 < float(exact[0]) < 1


def test_pairs_are_scored_by_that_density():
    model, x, mu = on_a_grid()
    rows = torch.multinomial(mu, 300, replacement=True, generator=torch.Generator().manual_seed(1))
    frames = Frames.from_numpy(x[rows].numpy(), unit="reduced", dt=LAG, temperature_kT=1.0)
    fit = bcg.Fit(model, bcg.inference.uncertainty.Posterior("none", {
        **{k: v.detach() for k, v in model.named_parameters()}, **dict(model.named_buffers())
    }, {}, ("log_joint",)), {}, {}, {}, [])  # fmt: skip
    exact = transition_density(model, x)[rows[:-1], rows[1:]].log()
    torch.testing.assert_close(fit.log_density(frames.lagged(LAG))[0], exact)


def test_no_state_is_lost_where_a_state_is_rare():
    """Its start has as many states as were asked for, each with frames, in every draw of the weights."""
    rng = np.random.default_rng(0)
    jumps = np.cumprod(np.where(rng.random(4000) < 0.02, -1, 1))
    x = np.c_[jumps, rng.normal(size=4000) * 5] + 0.3 * rng.normal(size=(4000, 2))
    pairs = Frames.from_numpy(x, unit="reduced", dt=1.0).lagged(1.0)
    model = ReversibleDeepMSM(states=3, hidden=(8,))
    model.setup(pairs)
    for seed in range(5):
        torch.manual_seed(seed)
        model.reset()
        chi = model.basis(torch.as_tensor(pairs.frames.positions)).detach()
        assert float(chi.mean(0).min()) > 0.05
    slow = np.corrcoef(chi.numpy().T, jumps)[-1, :-1]
    assert np.abs(slow).max() > 0.9  # clusters of the slow coordinate, not of the wide one


@pytest.mark.parametrize("logit", [-60.0, -300.0])
def test_a_state_that_no_frame_is_in_changes_nothing(logit: float):
    """Neither a score nor a gradient, though the inverse square of its occupation is beyond all numbers."""
    x = torch.randn(2, 200, 2, generator=torch.Generator().manual_seed(0))
    models: list[Any] = [ReversibleDeepMSM(states=m, hidden=(8,), dim=2, rank=2).train() for m in (3, 2)]
    found = []
    with torch.no_grad():
        for model in models:
            for p in model.net.net.parameters():
                p.zero_()
            model.net.affine.copy_(torch.tensor([[1.0, 0.5, 0.2], [-1.0, 0.3, 0.0], [0.0, 0.0, logit]])[: model.states])
    for model in models:
        batch = bcg.Batch(x[0], y=x[1], total=200)
        given = pyro.poutine.condition(model.model, {"log_joint": model.log_joint})
        trace: Any = pyro.poutine.trace(given).get_trace(batch)
        trace.compute_log_prob()
        score = trace.nodes["pairs"]["fn"].log_factor
        score.sum().backward()
        found.append((score.detach(), model.net.affine.grad[:2], model.log_joint.grad[:3]))
        assert all(torch.isfinite(p.grad).all() for p in (model.net.affine, model.log_joint))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


def chain(n: int, seed: int) -> Frames:
    """Three discrete states, seen through noise too small to confuse them, of known reversible jumps."""
    rng = np.random.default_rng(seed)
    pi, flow = np.array([0.5, 0.3, 0.2]), np.array([[0, 0.02, 0.005], [0.02, 0, 0.01], [0.005, 0.01, 0]])
    t = flow / pi[:, None] + np.diag(1 - flow.sum(1) / pi)
    state = np.zeros(n, dtype=int)
    for k in range(1, n):
        state[k] = rng.choice(3, p=t[state[k - 1]])
    x = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])[state] + 0.2 * rng.normal(size=(n, 2))
    return Frames.from_numpy(x, unit="reduced", dt=1.0, temperature_kT=1.0, labels=state)


def test_discrete_states_give_the_reversible_count_matrix():
    """With hard states the largest likelihood is that of a reversible MSM: its timescales and its log score."""
    frames = chain(6000, 0)
    pairs = frames.lagged(1.0)
    fit = bcg.fit(
        ReversibleDeepMSM(states=3, hidden=(8,)), pairs, steps=220, batch_size=2000, learning_rate=0.1,
        validation=0.0, uncertainty="none", compile="trace",
    )  # fmt: skip
    state = np.asarray(frames.labels)
    counts = np.zeros((3, 3))
    np.add.at(counts, (state[:-1], state[1:]), 1)
    joint = (counts + counts.T) / (2 * counts.sum())
    c = joint.sum(1)
    exact = np.sort(np.linalg.eigvals(joint / c[:, None]).real)[::-1][1:]
    model: Any = fit.model
    np.testing.assert_allclose(model.eigenvalues(torch.as_tensor(frames.positions)).numpy(), exact, atol=5e-3)
    score = float((counts / counts.sum() * np.log(joint / np.outer(c, c))).sum())
    assert float(fit.log_density(pairs).mean()) == pytest.approx(score, abs=5e-3)
    # every frame is in one state, and the occupations are those of the data
    assert float(fit.cv(frames).mean.max(1).values.mean()) > 0.99
    np.testing.assert_allclose(np.sort(model.occupation), np.sort(c), atol=5e-3)


def test_occupations_of_refits_are_those_of_their_weights():
    """Populations spread between refits as between data sets: with the model's states hard, by the weights alone."""
    frames = chain(2000, 2)
    pairs = frames.lagged(1.0)
    fit: Any = bcg.fit(
        ReversibleDeepMSM(states=3, hidden=(4,)), pairs, steps=60, batch_size=1000, learning_rate=0.1,
        validation=0.0, uncertainty="bootstrap", members=21, compile="trace",
    )  # fmt: skip
    spread = fit.weights.tensors["occupation"].std(0)
    state = np.eye(3)[np.asarray(frames.labels)]
    order = np.argsort(fit.model.occupation.numpy()), np.argsort(state.mean(0))
    blocks = state.reshape(20, 100, 3).mean(1)  # a hundred frames forget their state
    exact = blocks.std(0, ddof=1) / 20**0.5
    ratio = spread.numpy()[order[0]] / exact[order[1]]
    assert ((ratio > 0.5) & (ratio < 2)).all()  # four standard errors, of 20 draws and of 20 blocks
    weight = torch.rand(len(pairs), generator=torch.Generator().manual_seed(0))
    fit.model.finish(pairs, weight)
    now, later = (fit.model.basis(torch.as_tensor(end)).detach().double() for end in pairs.gather(slice(None)))
    mean = 0.5 * (weight.double() @ (now + later)) / weight.double().sum()
    torch.testing.assert_close(fit.model.occupation.double(), mean, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_more_states_than_there_are_do_not_score_better():
    train, test = chain(6000, 0).lagged(1.0), chain(3000, 1).lagged(1.0)
    scores = []
    for states in (2, 3):
        fit = bcg.fit(
            ReversibleDeepMSM(states=states, hidden=(8,)), train, steps=100, batch_size=1000, learning_rate=0.1,
            uncertainty="none", compile="trace",
        )  # fmt: skip
        scores.append(float(fit.log_density(test).mean()))
    assert scores[1] > scores[0] + 0.1


def test_arguments_are_checked():
    with pytest.raises(ConfigError, match="states=1 must be a whole number, at least 2"):
        ReversibleDeepMSM(states=1)


@pytest.mark.slow
def test_the_two_spectra_of_a_double_well():
    """(x^2 - 1)^2, four states, lag 0.1: the eigenproblem in the states is right where the model's own rate is not."""
    system = bcg.systems.QuarticDoubleWell()
    truth = float(bcg.truth.spectrum(system, modes=1).eigenvalues[0])
    frames = bcg.sampling.overdamped(
        system, 10_000, dt=0.002, chains=200, stride=10, equilibration=2000, seed=0, compile="off"
    )
    fit = bcg.fit(
        ReversibleDeepMSM(states=4, hidden=(16, 16)), frames.lagged(LAG), steps=2500, batch_size=4096,
        learning_rate=0.005, validation=0.1, uncertainty="none", compile="trace",
    )  # fmt: skip
    model: Any = fit.model
    assert float(model.occupation.min()) > 0.02
    own = -np.log(float(model.eigenvalues(torch.as_tensor(frames.positions[::10]))[0])) / LAG
    found = bcg.analysis.spectrum(fit, frames, draws=200, modes=1)
    rates = np.asarray(found.eigenvalues)[:, 0]
    assert abs(rates.mean() - truth) < 3 * rates.std() + 0.02 * truth
    assert 0.85 < own < 1.05
    assert own - truth > 5 * rates.std()
