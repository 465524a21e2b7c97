"""Counts of shots: multinomial, with another number of shots in each row."""

import numpy as np
import torch
from scipy import stats

from bayescg.distributions import ShotCounts


def test_densities_are_the_multinomial_ones():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 3))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    shots = np.array([0, 1, 2, 5, 20, 20])
    counts = np.array([rng.multinomial(n, row) for n, row in zip(shots, p, strict=True)])
    found = ShotCounts(torch.as_tensor(shots).double(), torch.as_tensor(logits)).log_prob(torch.as_tensor(counts))
    exact = [stats.multinomial.logpmf(k, n, row) for k, n, row in zip(counts, shots, p, strict=True)]
    np.testing.assert_allclose(found.numpy(), np.array(exact), atol=1e-10)


def test_draws_have_the_right_moments():
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.0, 0.0]])
    shots = torch.tensor([7.0, 3.0])
    k = ShotCounts(shots, logits).sample(torch.Size([20_000]))
    assert bool((k.sum(-1) == shots).all())
    p = logits.softmax(-1)
    error = (shots[:, None] * p * (1 - p) / 20_000).sqrt()
    assert bool(((k.mean(0) - shots[:, None] * p).abs() < 4 * error).all())
    torch.testing.assert_close(k.var(0), shots[:, None] * p * (1 - p), rtol=0.06, atol=0.0)
