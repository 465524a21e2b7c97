"""A stratified mixture has the moments, the gradients and the density of the mixture."""

import torch

from bayescg.distributions import LatentMixture, StratifiedMixture
from bayescg.recording.functional import call_with

LOGITS, MEAN, SD = (
    torch.tensor([1.0, -1.0, 0.0]),
    torch.tensor([[-2.0], [0.5], [3.0]]),
    torch.tensor([[0.3], [1.0], [0.1]]),
)
WEIGHTS = torch.softmax(LOGITS.double(), 0)


def mixture(rows, **changed):
    values = {"logits": LOGITS, "mean": MEAN, "sd": SD}
    values = {k: changed.get(k, v.double()) for k, v in values.items()}
    return StratifiedMixture(**values, component=torch.arange(rows) % 3)


def test_density_integrates_to_one():
    grid = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    total = torch.trapezoid(mixture(3).log_prob(grid[:, None]).exp(), grid)
    assert abs(float(total) - 1) < 1e-9


def test_weighted_draws_have_the_mixtures_moments():
    torch.manual_seed(0)
    q = mixture(300_000)
    z, share = q.rsample()[:, 0], q.share
    first = float((WEIGHTS @ MEAN.double())[0])
    second = float((WEIGHTS @ (MEAN.double() ** 2 + SD.double() ** 2))[0])
    for found, exact in ((share * z, first), (share * z**2, second)):
        assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / len(z) ** 0.5
    assert abs(float(share.mean()) - 1) < 1e-12
    uneven = StratifiedMixture(LOGITS, MEAN, SD, torch.tensor([0, 0, 0, 1, 2]))
    assert abs(float(uneven.share.mean()) - 1) < 1e-6


def test_gradients_are_those_of_the_expectation():
    torch.manual_seed(1)
    leaves = {k: v.double().requires_grad_() for k, v in (("logits", LOGITS), ("mean", MEAN), ("sd", SD))}
    q = mixture(600_000, **leaves)
    found = torch.autograd.grad((q.share * q.rsample()[:, 0] ** 2).mean(), list(leaves.values()))
    exact_value = (torch.softmax(leaves["logits"], 0) @ (leaves["mean"] ** 2 + leaves["sd"] ** 2)).sum()
    exact = torch.autograd.grad(exact_value, list(leaves.values()))
    for one, other in zip(found, exact, strict=True):  # of 200 000 draws each, errors are below 0.01
        torch.testing.assert_close(one, other, atol=0.02, rtol=0)


def test_no_component_is_left_to_chance():
    """However small its weight: what a categorical draw would lose for hundreds of batches."""
    q = StratifiedMixture(
        torch.tensor([0.0, -14.0]), torch.tensor([[0.0], [9.0]]), torch.ones(2, 1), torch.arange(10) % 2
    )
    assert int((q.rsample() > 4.5).sum()) == 5


def test_components_are_drawn_by_their_weights():
    """Those of an ensemble are vectorised; a component without weight, first or last, is never drawn."""
    logits, rows = torch.tensor([[0.0, 0.04, -0.03, -9.0], [-9.0, 0.0, 0.02, -9.0], [0.0, -9.0, -9.0, -0.1]]), 100_000
    prior = LatentMixture(4, 1)

    def both(logits):
        params = {"logits": logits, "mean": prior.mean, "log_sd": prior.log_sd}
        weights = call_with(prior, params, LatentMixture.forward, torch.arange(4)).log_weights.exp()
        return weights, call_with(prior, params, LatentMixture.drawn, rows)

    torch.manual_seed(0)
    for weights, drawn in zip(*torch.func.vmap(both, randomness="same")(logits), strict=True):
        share = torch.bincount(drawn, minlength=4) / rows
        assert (share - weights).abs().max() < 4 * 0.5 / rows**0.5
        assert share[weights < 1e-9].sum() == 0
