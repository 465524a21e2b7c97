"""Every peer of the benchmark computes the same loss of the same weights, and trains the same weights."""

import math

import numpy as np
import pytest
import torch
from pyro import poutine

from tests.benchmarks import bayescg_, hand, svi
from tests.benchmarks.problems import CENTRE, DIM, LATENT, PROBLEMS, STIFFNESS, Problem, data, weights
from tests.benchmarks.race import Result, race, summary
from tests.benchmarks.table import table

BATCH = 256

problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=list(PROBLEMS))


def case(problem: Problem, batch: int = BATCH) -> tuple[hand.Params, tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """Weights, the tensors that the hand-written loss takes, and the latent values that its noise amounts to."""
    p = {k: torch.from_numpy(v) for k, v in weights(problem).items()}
    tensors = tuple(torch.from_numpy(a[:batch]) for a in data(problem, batch))
    z = torch.randn(batch, LATENT)
    if problem.name == "A":
        mean, log_sd = hand.mlp(p, "encoder", tensors[0]).chunk(2, -1)
        return p, (*tensors, z), {"z": mean + log_sd.exp() * z}
    if problem.name == "B":
        eps = torch.randn(batch, DIM)
        x = hand.mlp(p, "mean", z) + hand.mlp(p, "log_sd", z).exp() * eps
        return p, (z, eps, torch.from_numpy(STIFFNESS), torch.from_numpy(CENTRE)), {"z": z, "x": x}
    return p, tensors, {}


def written_by_hand(problem: Problem, batch: int = BATCH) -> tuple[float, dict[str, torch.Tensor]]:
    p, tensors, latent = case(problem, batch)
    return float(hand.LOSSES[problem.name](p, *tensors).detach()), latent


@problems
def test_pyro_computes_the_loss_written_by_hand(problem):
    expected, latent = written_by_hand(problem)
    programs = svi.make(problem)
    tensors = tuple(torch.from_numpy(a[:BATCH]) for a in data(problem, BATCH)) or (torch.empty(BATCH, 0),)
    proposed, model = (
        poutine.trace(poutine.condition(f, latent)).get_trace(*tensors).log_prob_sum()
        for f in (programs.guide, programs.model)
    )
    assert float(torch.as_tensor(proposed - model).detach()) / BATCH == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow  # importing JAX alone takes 2 s
@problems
def test_numpyro_computes_the_loss_written_by_hand(problem):
    pytest.importorskip("numpyro", reason="NumPyro is not installed: pip install 'bayescg[benchmark]'")
    from tests.benchmarks import numpyro_

    expected, latent = written_by_hand(problem)
    first = {k: numpyro_.jnp.asarray(v) for k, v in weights(problem).items()}
    values = {k: numpyro_.jnp.asarray(v.numpy()) for k, v in latent.items()}
    tensors = tuple(a[:BATCH] for a in data(problem, BATCH))
    model, proposed = (
        numpyro_.numpyro.infer.util.log_density(f, tensors, {}, values)[0]
        for f in numpyro_.programs(problem, first, BATCH)
    )
    assert float(proposed - model) / BATCH == pytest.approx(expected, rel=1e-5)


@problems
def test_a_fit_begins_at_the_loss_written_by_hand(problem):
    # 20 steps at a rate of nearly zero: each draws its own frames and noise, at weights that stay what they were
    fit = bayescg_.fit(problem, BATCH, steps=20, learning_rate=1e-9, compile="trace", seed=3)
    losses = np.array([row["loss"] for row in fit.log])
    expected = np.array([written_by_hand_anywhere(problem) for _ in range(40)])
    error = math.hypot(losses.std(ddof=1) / math.sqrt(len(losses)), expected.std(ddof=1) / math.sqrt(len(expected)))
    assert error < 0.02 * abs(expected.mean())  # sharp enough to see a missing term
    assert abs(losses.mean() - expected.mean()) < 4 * error


def written_by_hand_anywhere(problem: Problem) -> float:
    """The loss at random frames and noise."""
    p, tensors, _ = case(problem)
    if arrays := data(problem, BATCH):
        index = torch.randint(len(arrays[0]), (BATCH,)).numpy()
        tensors = tuple(torch.from_numpy(a[index]) for a in arrays) + tensors[len(arrays) :]
    return float(hand.LOSSES[problem.name](p, *tensors).detach())


@problems
def test_every_peer_trains_the_same_weights(problem):
    shapes = {k: v.shape for k, v in weights(problem).items()}
    for module in (svi.make(problem), bayescg_.make(problem)):
        assert {k: tuple(v.shape) for k, v in module.named_parameters()} == shapes


@pytest.mark.slow
def test_columns_take_turns_and_make_a_table():
    results = race(["PyTorch", "bayescg trace"], "C", 16, threads=1, rounds=3, block=0.01)
    assert [len(r.seconds) for r in results] == [3, 3]
    assert all(s > 0 for r in results for s in r.seconds)
    rows = [line for line in table(results).splitlines() if line.startswith("| C ")]
    assert len(rows) == 2
    assert "(1.00)" in rows[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_column_that_does_not_exist_is_left_out_and_says_why():
    (result,) = race(["PyTorch"], "C", 16, threads=1, device="cuda", rounds=3)
    assert not result.seconds
    assert "Not here:\nPyTorch: " in table([result])


def test_ratios_are_taken_within_a_turn():
    # twice the time in every turn, though the second turn was slow for both
    one, two = (Result("", "C", 16, 1, "cpu", seconds=s) for s in ([1.0, 9.0, 1.0], [2.0, 18.0, 2.0]))
    assert summary(two, one) == (2.0, 2.0, 2.0)
