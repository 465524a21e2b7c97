"""Checks that many functions share: each refuses what cannot be, and nothing else."""

import numpy as np
import pytest

from bayescg.arguments import check_counts, check_numbers, check_positive, widths
from bayescg.errors import ConfigError


@pytest.mark.parametrize("value", [0, 1.5, True, "3", None, float("nan"), np.float64(3.0)])
def test_a_count_is_whole_and_large_enough(value):
    with pytest.raises(ConfigError, match=r"chains=.* must be a whole number, at least 1"):
        check_counts(chains=(value, 1))
    check_counts(chains=(1, 1), steps=(np.int64(7), 1))


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "0.1", None, True, [1.0]])
def test_a_positive_number_is_finite(value):
    with pytest.raises(ConfigError, match=r"dt=.* must be positive and finite"):
        check_positive(dt=value)
    check_positive(dt=0.1, friction=np.float32(1.0))


@pytest.mark.parametrize(
    ("value", "interval"),
    [(0, "(0, 1]"), (1.1, "(0, 1]"), (1, "(0, 1)"), (-1e-9, "[0, inf)"), (float("inf"), "[0, inf)"), ("1", "[0, 2]")],
)
def test_a_number_lies_in_its_interval(value, interval):
    with pytest.raises(ConfigError, match=r"wake=.* must be a number in"):
        check_numbers(wake=(value, interval))
    check_numbers(a=(1, "(0, 1]"), b=(0, "[0, inf)"), c=(0.5, "(0, 1)"))


@pytest.mark.parametrize("hidden", [8, [0], [-4], [8, 1.5], "64", [True], None])
def test_widths_are_whole_numbers(hidden):
    with pytest.raises(ConfigError, match=r"hidden=.* sequence of widths"):
        widths(hidden)
    assert widths(()) == ()
    assert widths([np.int64(8), 4]) == (8, 4)
