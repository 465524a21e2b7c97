"""Weights of mixtures: the conditions that an optimum meets, ArviZ's own, and what they do not say."""

import numpy as np
import pytest

from bayescg.analysis.comparing.mixture_weights import pseudo_bma, stacking


@pytest.fixture(scope="module")
def densities():
    """Two of three are needed, and the third is between them."""
    x = np.random.default_rng(0).normal(size=3000) + 3.0 * (np.random.default_rng(1).random(3000) < 0.3)
    return np.stack([-0.5 * (x - m) ** 2 for m in (0.0, 3.0, 1.5)])


def test_stacking_is_the_optimum(densities):
    """By Kuhn and Tucker: the mean of p_k / mixture is 1 for all that have weight, at most 1 for the others."""
    weight = np.random.default_rng(2).random(densities.shape[1])
    w = stacking(densities, weight)
    ratio = np.average(np.exp(densities) / (w @ np.exp(densities)), axis=1, weights=weight)
    assert w.sum() == pytest.approx(1.0)
    assert ratio[w > 1e-3] == pytest.approx(1.0, abs=1e-4)
    assert (ratio < 1 + 1e-4).all()
    assert w[:2] == pytest.approx([0.7, 0.3], abs=0.05)


def test_stacking_does_not_depend_on_what_all_share(densities):
    common = np.random.default_rng(3).normal(scale=300.0, size=densities.shape[1])
    even = np.ones(densities.shape[1])
    assert stacking(densities + common, even) == pytest.approx(stacking(densities, even), abs=1e-5)


def test_a_model_that_is_never_right_has_no_weight(densities):
    w = stacking(np.stack([densities[0], densities[0] - 1e4]), np.ones(densities.shape[1]))
    assert w == pytest.approx([1.0, 0.0], abs=1e-4)


def test_pseudo_bma_divides_what_cannot_be_told_apart():
    """Of scores that differ by noise each model is the better one in half of the bootstrap; of others never."""
    rng = np.random.default_rng(0)
    blocks = rng.normal(size=(2, 20))
    blocks -= blocks.mean(1, keepdims=True)
    assert pseudo_bma(list(blocks), 1e6) == pytest.approx([0.5, 0.5], abs=0.05)
    assert pseudo_bma([blocks[0] + 3.0, blocks[1]], 1e6)[1] < 1e-3
    assert pseudo_bma([blocks[0] + 0.1, blocks[1]], 0.0) == pytest.approx([0.5, 0.5])
