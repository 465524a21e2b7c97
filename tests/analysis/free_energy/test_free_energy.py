from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from scipy.stats import norm

import bayescg as bcg
from bayescg.analysis import free_energy
from bayescg.analysis.resampled import average
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError
from bayescg.models import PredictiveCV
from bayescg.units import kT


def first(x):
    return x[:, 0]


class Angle:
    name, unit = "theta", "rad"

    def __call__(self, x):
        return x[:, 0]


def independent(x, **rest):
    return Frames.from_numpy(np.asarray(x).reshape(len(x), -1), unit="reduced", **rest)


def in_time(x, **rest):
    return independent(x, dt=1.0, **rest)


def gaussian(n=40_000, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def test_profile_of_a_gaussian_is_a_parabola():
    fes = free_energy(None, independent(gaussian()), first, bins=20, range=(-2, 2))
    edges = fes.edges[0]
    exact = -np.log(np.diff(norm.cdf(edges)))
    zero = int(np.argmin(fes.mean.values))
    assert (fes.profile.values[:, zero] == 0).all()
    others = np.arange(20) != zero
    error = (fes.mean.values - (exact - exact[zero]))[others] / fes.sd.values[others]
    assert np.abs(error).max() < 4
    assert 0.6 < np.sqrt((error**2).mean()) < 1.6
    low, high = fes.band.values
    assert ((low < fes.mean.values) & (fes.mean.values < high))[others].all()


def test_weights_turn_one_ensemble_into_another():
    x = gaussian()
    fes = free_energy(None, independent(x, weights=np.exp(0.5 * x)), first)
    found = fes.population((0.5, 10.0))
    assert abs(found.mean - 0.5) < 4 * found.sd < 0.04


def test_bins_without_frames_stay_empty():
    x = np.r_[np.full(500, -1.0), np.full(500, 1.0)] + 0.1 * gaussian(1000)
    fes = free_energy(None, independent(x), first, bins=30)
    empty = np.histogram(x, fes.edges[0])[0] == 0
    assert empty.any()
    assert np.isnan(fes.profile.values[:, empty]).all()
    assert np.isnan(fes.mean.values[empty]).all()


def test_a_periodic_region_goes_around_the_end():
    angle = np.random.default_rng(0).uniform(-np.pi, np.pi, 20_000)
    fes = free_energy(None, independent(angle), Angle())
    assert fes.periodic == (True,)
    around = fes.population((np.pi / 2, -np.pi / 2))
    assert abs(around.mean - 0.5) < 4 * around.sd
    np.testing.assert_allclose(around.draws + fes.population((-np.pi / 2, np.pi / 2)).draws, 1, atol=1e-9)
    assert np.allclose(free_energy(None, independent(angle + 2 * np.pi), Angle()).mean, fes.mean)


def test_degrees_are_not_taken_for_radians():
    fes = free_energy(None, independent(np.random.default_rng(0).uniform(-np.pi, np.pi, 1000)), Angle())
    for region in ((-120, 60), (60, -120), (0, 180)):
        with pytest.raises(ConfigError, match=r"in radians, .*np\.deg2rad"):
            fes.difference(region, (0, 1))
    with pytest.raises(ConfigError, match="of an angle is in radians"):
        free_energy(None, independent(np.zeros(100)), Angle(), range=(-180, 180))
    assert fes.population((0, 2 * np.pi)).mean == pytest.approx(0.5, abs=0.1)  # other conventions are not refused
    plain = free_energy(None, independent(100 * gaussian(1000)), first)
    assert plain.population((-120, 60)).mean > 0.5


def test_boxes_in_two_dimensions_and_signs():
    x = np.random.default_rng(0).normal(size=(20_000, 2))
    fes = free_energy(None, independent(x), lambda x: x, bins=15)
    everywhere, upper = ((-9, 9), (-9, 9)), ((0, 9), (0, 9))
    assert fes.profile.dims == ("draw", "bin_x", "bin_y")
    found = fes.difference(everywhere, upper)
    assert abs(found.mean - np.log(4)) < 4 * found.sd
    np.testing.assert_allclose(fes.difference(upper, everywhere).draws, -found.draws)


@pytest.mark.parametrize("count", [500, 20_000])
def test_bins_follow_the_number_of_frames(count):
    """Most frames are in bins with an error bar; where bins are too many for that, a warning says how many are not."""
    x = np.random.default_rng(0).normal(size=(count, 2))
    fes = free_energy(None, independent(x), lambda x: x)
    seen = np.histogram2d(*x.T, bins=fes.edges)[0]
    assert seen[~fes.untold].sum() > 0.9 * seen.sum()
    assert not fes.warnings
    many = free_energy(None, independent(x[:500]), lambda x: x, bins=80)
    (warning,) = many.warnings
    seen = np.histogram2d(*x[:500].T, bins=many.edges)[0]
    assert f"no band for {(seen > 0).sum()} of the {(seen > 0).sum()} bins with frames, which hold 100 %" in warning
    assert "use fewer bins" in warning


def test_a_range_without_frames_is_refused():
    with pytest.raises(DataError, match="range= that holds the frames"):
        free_energy(None, independent(gaussian(500)), first, range=(50, 60))


@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("cvs", [1, 2])
def test_bins_follow_what_weighted_frames_are_worth(spread, cvs):
    rng = np.random.default_rng(0)
    x, w = rng.uniform(-3, 3, size=(20_000, cvs)), np.exp(spread * rng.normal(size=20_000))
    fes = free_energy(None, independent(x, weights=w), lambda x: x, draws=50)
    mass = np.histogramdd(x, bins=list(fes.edges), weights=w)[0]
    assert mass[fes.effective.values >= 10].sum() > 0.8 * mass.sum()
    assert len(fes.edges[0]) - 1 >= min(80, (20_000 * np.exp(-(spread**2)) / 60) ** (1 / cvs))  # and not far fewer


def test_kj_per_mol_needs_a_temperature():
    fes = free_energy(
        None, Frames.from_numpy(gaussian(3000).reshape(-1, 1, 3), unit="nm", temperature=300.0), lambda x: x[:, 0, 0]
    )
    regions = (-9, 0), (0.5, 9)
    ratio = fes.difference(*regions, unit="kJ/mol").mean / fes.difference(*regions).mean
    calories = fes.difference(*regions, unit="kcal/mol")
    assert calories.unit == "kcal/mol"
    assert calories.mean * 4.184 == pytest.approx(ratio * fes.difference(*regions).mean)
    assert ratio == pytest.approx(kT(300.0))
    with pytest.raises(DataError, match="temperature"):
        free_energy(None, independent(gaussian(100)), first).difference(*regions, unit="kJ/mol")
    with pytest.raises(ConfigError, match="'kcal' is not known here; use one of kT, kJ/mol, kcal/mol"):
        fes.difference(*regions, unit="kcal")


def visiting(entries):
    """A trajectory that enters x > 0 so many times, each visit 30 frames long."""
    return np.concatenate([np.r_[np.full(70, -1.0), np.full(30, 1.0)] for _ in range(entries)]) + 0.1 * gaussian(
        100 * entries
    )


def test_too_few_entries_mean_no_interval():
    regions = (-3, 0), (0, 3)
    known = free_energy(None, in_time(visiting(12)), first).difference(*regions)
    assert known.visits == (11, 12)
    assert known.ci90 is not None
    unknown = free_energy(None, in_time(visiting(9)), first).difference(*regions)
    assert unknown.visits == (8, 9)
    assert unknown.ci90 is None
    assert (
        unknown.warning == "-3 to 0 was entered 8 times and 0 to 3 was entered 9 times, fewer than 10: simulate longer"
    )


def test_starting_inside_is_not_entering():
    trajectory = np.repeat(np.arange(20), 50)
    fes = free_energy(
        None, in_time(np.where(trajectory % 2, 1.0, -1.0) + 0.1 * gaussian(1000), trajectory=trajectory), first
    )
    assert fes.difference((-3, 0), (0, 3)).visits == (0, 0)


def test_a_basin_never_seen_has_no_number():
    found = free_energy(None, independent(gaussian(500)), first).difference((-9, 0), (50, 60))
    assert np.isnan(found.mean)
    assert found.ci90 is None
    assert "holds 0 frames" in str(found.warning)


def test_blocks_too_short_for_the_correlation_are_reported():
    slow = np.cumsum(gaussian(400))
    assert free_energy(None, in_time(slow), first).warnings
    assert not free_energy(None, in_time(gaussian(4000)), first).warnings


def test_refits_add_their_own_spread():
    model, frames, _ = PredictiveCV.example()
    fit = bcg.fit(model, frames, steps=150, members=5, uncertainty="bootstrap", seed=0, compile="off", progress=False)
    fes = free_energy(fit, frames, bins=6)
    assert len(fes.values) == fit.weights.members
    assert fes.names == ("CV",)
    narrow = free_energy(fit, frames, cv=lambda x: fit.cv_draws(x).mean(0), bins=6)
    region = (-0.3, 0.3)
    mixed, alone = fes.population(region), narrow.population(region)
    assert mixed.sd > alone.sd
    assert alone.sd_by_source == {"sampling": alone.sd}
    assert (mixed.sd_by_source["parameter"] or 0) > 0
    assert mixed.sd_by_source["sampling"] == pytest.approx(alone.sd, rel=0.3)


def test_the_sources_of_a_free_energy_are_told_apart_exactly():
    """Refits whose CVs are shifted by known amounts: the differences that they give are known."""

    class Shifted:
        model = frames = None

        def __init__(self, *shifts):
            self.shifts = shifts

        def cv_draws(self, x):
            return torch.stack([x + s for s in self.shifts])

    shifts = (-0.2, 0.0, 0.2)
    fit: Any = Shifted(*shifts)
    frames, regions = independent(gaussian(4000)), ((-9, 0), (0, 9))
    found = free_energy(fit, frames, draws=3000).difference(*regions)
    alone = free_energy(None, frames, first, draws=3000).difference(*regions)
    exact = np.std([norm.logcdf(-s) - norm.logcdf(s) for s in shifts])
    assert found.sd_by_source["parameter"] == pytest.approx(exact, rel=0.1)
    assert found.sd_by_source["sampling"] == pytest.approx(alone.sd, rel=0.05)
    assert sum((sd or 0) ** 2 for sd in found.sd_by_source.values()) == pytest.approx(found.sd**2)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"bins": 1}, "bins=1 must be a whole number, at least 2"),
        ({"range": (1, -1)}, "lower bound"),
        ({"range": ((0, 1), (0, 1))}, "each of the 1 CV"),
        ({"cv": None}, "needs a fit"),
        ({"cv": lambda x: x[:2, 0]}, "one value a frame"),
        ({"cv": lambda x: x[:, 0] / 0}, "not finite"),
        ({"cv": lambda x: x[:, [0, 0, 0]]}, "one or two"),
        ({"cv": "phi"}, "topology"),
        ({"range": (50, 60)}, "no bin"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, match):
    with pytest.raises((ConfigError, DataError), match=match):
        free_energy(None, independent(gaussian(100)), **{"cv": first, **wrong})


@pytest.mark.parametrize("region", [(1, 0), (0, 1, 2), ((0, 1), (0, 1)), (0, np.nan)])
def test_regions_that_make_no_sense_are_refused(region):
    with pytest.raises(ConfigError, match="region"):
        free_energy(None, independent(gaussian(100)), first).population(region)


def test_one_seed_gives_one_result():
    frames = in_time(gaussian(1000))
    a, b, c = (free_energy(None, frames, first, seed=s).profile.values for s in (0, 0, 1))
    assert np.array_equal(a, b, equal_nan=True)
    assert not np.array_equal(a, c, equal_nan=True)


def test_a_bin_that_some_draws_of_the_cv_never_visit_is_open_above():
    class TwoCVs:
        """The second refit puts every frame above 1 at 1."""

        model = frames = None

        def cv_draws(self, x):
            return torch.stack([x, x.clamp(max=1.0)])

    fit: Any = TwoCVs()
    fes = free_energy(fit, independent(gaussian(4000)), bins=8, range=(-2, 2))
    half = np.isinf(fes.profile.values).mean(0)
    assert half.tolist() == [0, 0, 0, 0, 0, 0, 0.0, 0.5]
    assert np.isfinite(fes.mean.values).all()
    low, high = fes.band.values
    assert np.isfinite(low).all()
    assert np.isinf(high).tolist() == [False] * 7 + [True]


@pytest.mark.parametrize("levels", [lambda w: np.minimum(w, np.quantile(w, 0.92)), lambda w: 10.0 ** (w > 20), np.rint],
                         ids=["capped", "two levels", "whole numbers"])  # fmt: skip
def test_weights_of_few_values_are_weighed_as_they_are(levels):
    """Their tail has no shape of a Pareto distribution; the bootstrap over frames still holds the truth."""
    rng = np.random.default_rng(3)
    side, weights = rng.choice([-1.0, 1.0], size=4000), levels(1.0 + rng.pareto(1.2, size=4000))
    fes = free_energy(None, independent(side + 0.1 * gaussian(4000), weights=weights), first, bins=8)
    found = fes.difference((-9, 0), (0, 9))
    assert found.mean == pytest.approx(np.log(weights[side < 0].sum() / weights[side > 0].sum()), abs=found.sd)
    assert abs(found.mean) < 4 * found.sd


def test_a_region_may_have_no_end():
    fes = free_energy(None, in_time(gaussian(400)), first)
    open_, closed = fes.difference((-np.inf, 0), (0, np.inf)), fes.difference((-99, 0), (0, 99))
    assert open_.draws == pytest.approx(closed.draws)


def test_frames_without_a_time_axis_are_taken_as_what_their_neighbours_say():
    """An autoregression without dt has the error bars that it has with dt, and says why; shuffled it is independent."""
    noise = gaussian(4000)
    x = np.asarray(lfilter([1.0], [1.0, -0.9], noise))
    shuffled = np.random.default_rng(0).permutation(x)
    known, guessed, free = (
        free_energy(None, frames, first, seed=0) for frames in (in_time(x), independent(x), independent(shuffled))
    )
    assert [any("taken to follow each other" in w for w in fes.warnings) for fes in (known, guessed, free)] == [
        False, True, False,
    ]  # fmt: skip
    assert guessed.inefficiency == known.inefficiency > 10
    assert free.inefficiency == 1
    halves = (-np.inf, 0), (0, np.inf)
    assert guessed.difference(*halves).draws == pytest.approx(known.difference(*halves).draws)
    mean_known, mean_guessed, mean_free = (
        average(values, frames, 400, 0, "").sd
        for values, frames in ((x, in_time(x)), (x, independent(x)), (shuffled, independent(shuffled)))
    )
    assert mean_guessed == mean_known > 3 * mean_free


def test_trajectories_that_all_begin_in_one_well_have_no_interval():
    """By 100 chains of 60 from the left of two equal wells, whose rate is .03; from equilibrium the truth is held."""
    system = bcg.systems.QuarticDoubleWell(temperature_kT=0.25)
    starts = np.where(np.arange(100) % 2, 1.0, -1.0)[:, None]
    for begin, settled in ((starts, True), (-np.abs(starts), False)):
        frames = bcg.sampling.overdamped(system, 6000, dt=0.01, chains=100, stride=20, seed=3, starts=begin)
        fes = free_energy(None, frames, cv=lambda x: x[:, 0], bins=20, draws=200)
        difference = fes.difference((-10, 0), (0, 10))
        assert (difference.ci90 is not None) == settled
        assert any("do not begin at equilibrium" in w for w in fes.warnings) != settled
        if difference.ci90 is not None:
            assert difference.ci90[0] < 0 < difference.ci90[1]
