"""The statistical inefficiency of AR(1) processes, g = (1 + rho) / (1 - rho), within its own scatter."""

import numpy as np
import pytest
from scipy.signal import lfilter

from bayescg.data import statistical_inefficiency


def ar1(rho, n, seed):
    rng = np.random.default_rng(seed)
    start = rng.normal() / np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], rng.normal(size=n), zi=[rho * start])[0]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.97])
def test_ar1(rho):
    exact = (1 + rho) / (1 - rho)
    found = np.array([statistical_inefficiency(ar1(rho, 20_000, seed)) for seed in range(40)])
    error = found.std(ddof=1) / np.sqrt(len(found))
    # the clip at 1 and the monotone estimator lean to the safe side: a bias of at most 3 %, upwards
    assert exact - 4 * error < found.mean() < 1.03 * exact + 4 * error
    assert found.std() < 0.2 * exact


def test_many_short_trajectories_agree_with_a_long_one():
    rho, runs = 0.8, 50
    found = []
    for seed in range(20):
        pieces = [ar1(rho, 400, 1000 * seed + k) for k in range(runs)]
        found.append(statistical_inefficiency(np.concatenate(pieces), np.repeat(np.arange(runs), 400)))
    error = np.std(found, ddof=1) / np.sqrt(20)
    assert abs(np.mean(found) - 9.0) < 4 * error + 0.27


def test_ends_are_not_crossed():
    # two halves that each alternate, in opposite phase: across the end the sign would be seen to repeat
    x = np.r_[np.tile([1.0, -1.0], 2), np.tile([-1.0, 1.0], 2)]
    assert statistical_inefficiency(x, np.repeat([0, 1], 4)) == 1.0


def test_unmixed_trajectories_count_as_few_draws():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(scale=0.1, size=500), 5 + rng.normal(scale=0.1, size=500)])
    assert statistical_inefficiency(x, np.repeat([0, 1], 500)) > 500


def test_the_slowest_column_counts_and_constant_ones_do_not():
    fast, slow = ar1(0.2, 5000, 0), ar1(0.95, 5000, 1)
    both = statistical_inefficiency(np.column_stack([fast, slow, np.ones(5000)]))
    assert both == statistical_inefficiency(slow)
    assert both > statistical_inefficiency(fast)


def test_pooled_columns_are_not_those_that_are_slowest_by_chance():
    columns = np.column_stack([ar1(0.5, 2000, seed) for seed in range(40)])
    slowest, pooled = statistical_inefficiency(columns), statistical_inefficiency(columns, pooled=True)
    # each column alone scatters by 0.36; forty of them by 0.06, and their largest lies two and more such above
    assert abs(pooled - 3.0) < 0.2
    assert slowest > 3.5


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (np.ones(10), "never changes"),
        (np.arange(3.0), "at least 4"),
        (np.array([0.0, np.nan, 1.0, 2.0]), "not finite"),
    ],
)
def test_refused(series, message):
    with pytest.raises(ValueError, match=message):
        statistical_inefficiency(series)


def test_refuses_an_index_of_another_length():
    with pytest.raises(ValueError, match="trajectory="):
        statistical_inefficiency(np.arange(10.0), np.zeros(9, int))
