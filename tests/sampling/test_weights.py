"""Importance weights: closed forms of effective sizes, bisection, and what resampling keeps."""

import numpy as np
import pytest
import torch

from bayescg.data import effective
from bayescg.errors import SimulationError
from bayescg.sampling.weights import conditional_ess, next_beta, systematic


def test_effective_numbers():
    log_w = torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, 3.0, -torch.inf, -torch.inf], [-torch.inf] * 4])
    found = effective(log_w)
    assert found[:2].tolist() == pytest.approx([4.0, 2.0])
    assert found[2].isnan()


def test_conditional_ess_of_equal_weights_is_the_ess():
    log_v = torch.randn(1000, dtype=torch.float64)
    assert conditional_ess(torch.zeros(1000), log_v) == pytest.approx(float(effective(log_v)) / 1000, rel=1e-12)


def test_conditional_ess_does_not_see_old_weights():
    log_w = 3.0 * torch.randn(1000, dtype=torch.float64)
    assert conditional_ess(log_w, torch.zeros(1000)) == pytest.approx(1.0)
    assert float(effective(log_w)) / 1000 < 0.1


def test_the_next_temperature_is_where_the_conditional_ess_falls_to_its_target():
    ratio = torch.randn(5000, dtype=torch.float64).exp() * 1e6
    log_w = torch.randn(5000, dtype=torch.float64)
    beta = next_beta(1e-9, log_w, ratio, 0.9)
    assert conditional_ess(log_w, (beta - 1e-9) * ratio) == pytest.approx(0.9, abs=1e-6)
    assert next_beta(0.5, log_w, 1e-9 * ratio, 0.9) == 1.0


def test_particles_of_infinite_energy_do_not_stop_the_temperature():
    ratio = torch.randn(1000, dtype=torch.float64)
    ratio[::2] = -torch.inf
    assert next_beta(0.0, torch.zeros(1000), ratio, 0.9) > 0.1
    with pytest.raises(SimulationError, match="no particle of positive weight"):
        next_beta(0.0, torch.zeros(4), torch.full((4,), -torch.inf), 0.9)


def test_systematic_resampling_keeps_every_count_within_one_and_unbiased_on_average():
    w = torch.distributions.Dirichlet(torch.full((7,), 0.5)).sample((20_000,)).double()[:1].expand(20_000, 7)
    generator = torch.Generator().manual_seed(0)
    index = systematic(w.log(), generator)
    counts = torch.zeros(20_000, 7).scatter_add_(1, index, torch.ones(20_000, 7))
    expected = 7 * w[0]
    assert bool((counts >= expected.floor() - 1e-9).all())
    assert bool((counts <= expected.ceil() + 1e-9).all())
    share = expected - expected.floor()
    error = (share * (1 - share) / 20_000).sqrt()
    assert bool(((counts.mean(0).double() - expected).abs() < 4 * error + 1e-9).all())


def test_islands_are_resampled_by_themselves():
    log_w = torch.tensor([[0.0, -np.inf, -np.inf], [-np.inf, -np.inf, 5.0]])
    assert systematic(log_w, torch.Generator().manual_seed(0)).tolist() == [[0, 0, 0], [2, 2, 2]]
