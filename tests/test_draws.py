"""Intervals from few draws, importance diagnostics, and trees that ArviZ reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayescg.draws import interval, pareto_k, pareto_smoothed, to_tree


@pytest.mark.parametrize("count", [19, 39, 200])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_an_interval_holds_a_further_draw_at_its_level(count, level):
    """Exact for exchangeable draws, so few refits need no excuse; 4000 repeats give it to 0.5 %."""
    x = np.random.default_rng(count).normal(size=(count + 1, 4000))
    low, high = interval(x[1:], level)
    held = float(((low <= x[0]) & (x[0] <= high)).mean())
    assert held == pytest.approx(level, abs=4 * (level * (1 - level) / 4000) ** 0.5)


def test_plain_quantiles_of_few_draws_would_be_too_narrow():
    """Negative control of the test above."""
    x = np.random.default_rng(0).normal(size=(20, 4000))
    low, high = np.quantile(x[1:], [0.05, 0.95], axis=0)
    assert float(((low <= x[0]) & (x[0] <= high)).mean()) < 0.87


@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100), axis=st.integers(0, 2))
def test_intervals_follow_scale_shift_and_axis(scale, shift, axis):
    x = np.random.default_rng(0).normal(size=(25, 3, 4))
    moved = interval(np.moveaxis(scale * x + shift, 0, axis), 0.9, axis=axis)
    np.testing.assert_allclose(moved, scale * interval(x, 0.9) + shift, rtol=1e-9, atol=1e-9)


def test_wider_levels_contain_narrower_ones():
    x = np.random.default_rng(0).gamma(2.0, size=50)
    low, high = np.array([interval(x, level) for level in (0.3, 0.5, 0.8, 0.95, 0.999)]).T
    assert (np.diff(low) <= 0).all()
    assert (np.diff(high) >= 0).all()


@pytest.mark.parametrize("shape", [0.3, 0.5, 0.8, 1.2])
def test_pareto_k_finds_the_tail_of_a_pareto_distribution(shape):
    weights = np.random.default_rng(1).pareto(1 / shape, size=(4, 20_000)) + 1
    np.testing.assert_allclose(pareto_k(np.log(weights)), shape, atol=0.15)


@pytest.mark.parametrize("rest", [np.zeros(500), np.random.default_rng(0).uniform(-3, -1, 500)], ids=["same", "vary"])
def test_weights_with_a_largest_value_that_recurs_are_bounded(rest):
    """However many are the largest: in ArviZ's tail of 67 they are all, some, or a few above many that are the same."""
    for count in range(1, 80):
        logs = rest.copy()
        logs[:count] = 2.0
        k = pareto_k(logs)
        if count >= 10:
            assert k == 0.0
        elif not rest.any():
            assert k == np.inf


def test_pareto_k_does_not_depend_on_the_normalisation():
    logs = np.random.default_rng(2).normal(size=(3, 500))
    np.testing.assert_allclose(pareto_k(logs), pareto_k(logs + 700.0), atol=1e-6)


def test_weights_that_do_not_vary_have_no_tail():
    varying = np.random.default_rng(3).normal(size=500)
    clipped = np.minimum(varying, 0.0)
    k = pareto_k(np.stack([np.full(500, 3.0), varying, clipped]))
    assert k[0] == k[2] == 0
    assert k[1] == pareto_k(varying)
    smooth, k = pareto_smoothed(np.full(500, 3.0))
    assert k == 0
    np.testing.assert_allclose(np.exp(smooth), 1 / 500)


def tree():
    rng = np.random.default_rng(0)
    return to_tree(
        {
            "posterior": {"a": (("draw",), rng.normal(size=40)), "z": (("draw", "frame"), rng.normal(size=(40, 3)))},
            "log_likelihood": {"x": (("draw", "frame"), -1 + 0.1 * rng.normal(size=(40, 3)))},
            "observed_data": {"x": (("frame",), np.zeros(3))},
        },
        {"frame": [5, 7, 9], "atom": [1, 2], "refit": ("draw", np.arange(40) % 8)},
        {"seed": 3},
    )


def test_trees_have_named_dimensions_and_labels():
    t = tree()
    assert t["posterior"]["z"].dims == ("chain", "draw", "frame")
    assert np.asarray(t["posterior"]["frame"]).tolist() == [5, 7, 9]
    assert "atom" not in t["posterior"].coords
    assert t["posterior"]["refit"].dims == t["log_likelihood"]["refit"].dims == ("draw",)
    assert "refit" not in t["observed_data"].coords
    assert t["observed_data"]["x"].dims == ("frame",)
    assert t.attrs == {"seed": 3}


def test_a_tree_comes_back_from_a_file(tmp_path):
    import xarray as xr

    t = tree()
    t.to_netcdf(tmp_path / "posterior.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "posterior.nc", engine="h5netcdf") as again:
        assert again.identical(t)


def test_a_dimension_of_two_lengths_is_refused():
    with pytest.raises(ValueError, match="frame"):
        to_tree({"posterior": {"a": (("frame",), np.zeros(2)), "b": (("frame",), np.zeros(3))}}, {}, {})
