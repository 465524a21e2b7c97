"""The Jensen-Shannon divergence: exact values, and what chance makes of it."""

import numpy as np
import pytest

from bayescg.analysis import jensen_shannon
from bayescg.errors import DataError


def test_exact_values():
    assert jensen_shannon([3, 1, 0], [6, 2, 0]) == 0
    assert jensen_shannon([1, 0], [0, 5]) == pytest.approx(np.log(2))
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    middle = (p + q) / 2
    by_hand = (np.log(p / middle, where=p > 0, out=np.zeros(3)) @ p + np.log(q / middle) @ q) / 2
    assert jensen_shannon(p, q) == pytest.approx(by_hand)
    assert jensen_shannon(q, p) == pytest.approx(by_hand)
    assert jensen_shannon(np.diag(p), np.diag(q)) == pytest.approx(by_hand)  # of any shape


def test_what_chance_makes_of_two_samples_of_one_distribution():
    rng, p = np.random.default_rng(0), np.full(30, 1 / 30)
    values = [jensen_shannon(rng.multinomial(4000, p), rng.multinomial(2000, p)) for _ in range(200)]
    expected = 29 * (1 / 4000 + 1 / 2000) / 8
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / 200**0.5


@pytest.mark.parametrize("other", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_what_is_no_histogram(other: list[float]):
    with pytest.raises(DataError, match="two histograms of the same bins, none empty"):
        jensen_shannon([1.0, 1.0], other)
