"""Free energies of biased windows: coverage with new weights for each draw, and what fixed weights would say."""

from dataclasses import replace

import numpy as np
import pytest

import bayescg as bcg
from bayescg.analysis import average
from bayescg.data import Bias, Frames

CENTRES = np.linspace(-6.0, 6.0, 13)
GRID = np.linspace(-10.0, 10.0, 4001)
LEFT, RIGHT = (-10.0, 0.0), (0.0, 10.0)


def exact_free_energy(s):
    return 6.0 * np.exp(-(s**2) / 4.0) + 0.3 * s + 0.1 * s**2


DENSITY = np.exp(-exact_free_energy(GRID))
WINDOWS = DENSITY * np.exp(-0.5 * (GRID - CENTRES[:, None]) ** 2)
DIFFERENCE = np.log(DENSITY[GRID < 0.0].sum() / DENSITY[GRID >= 0.0].sum())


def biased(columns, times, seed):
    """Independent draws of every window, in columns; time-major in each column."""
    rng = np.random.default_rng(seed)
    s = np.stack([rng.choice(GRID, (columns, times), p=p / p.sum()) for p in WINDOWS], -1).ravel()
    window = np.tile(np.arange(len(CENTRES)), columns * times)
    column = np.repeat(np.arange(columns), times * len(CENTRES))
    time = np.tile(np.repeat(np.arange(times), len(CENTRES)), columns)
    replica = column * len(CENTRES) + (window + 5 * time) % len(CENTRES)  # as if they walked along the ladder
    born = np.tile(np.arange(len(CENTRES)), columns)
    bias = Bias(window, 0.5 * (s[:, None] - CENTRES) ** 2, replica=replica, born=born)
    frames = Frames.from_numpy(s[:, None], unit="reduced", bias=bias, trajectory=column, temperature_kT=1.0)
    return replace(frames, order=np.tile(np.arange(times * len(CENTRES)), columns))


def landscape(frames, **settings):
    return bcg.analysis.free_energy(None, frames, cv=lambda x: x[:, 0], **settings)


def held(repeats, columns, times, plain=False):
    """How many of the data sets' intervals hold the difference, and the profile at the top of the barrier."""
    counts = np.zeros(2, dtype=int)
    for seed in range(repeats):
        frames = biased(columns, times, seed)
        fes = landscape(
            replace(frames, bias=None, order=None) if plain else frames, bins=20, range=(-8.0, 8.0), seed=seed
        )
        low, high = fes.difference(LEFT, RIGHT).ci90 or (np.inf, -np.inf)
        counts[0] += low <= DIFFERENCE <= high
        band = fes.band.sel(bin=-0.4, method="nearest") - 0.0
        zero = float(fes.profile.bin[int(np.nanargmin(fes.mean.values))])
        height = -np.log(_share(-0.8, 0.0)) + np.log(_share(zero - 0.4, zero + 0.4))
        counts[1] += float(band[0]) <= height <= float(band[1])
    return counts


def _share(low, high):
    return DENSITY[(low <= GRID) & (high > GRID)].sum()


def test_intervals_hold_what_quadrature_says():
    # of 40 sets a right 90 % interval holds fewer than 29 once in a thousand families
    counts = held(40, columns=12, times=15)
    assert (counts >= 29).all(), counts


def test_weights_that_are_taken_for_exact_are_overconfident():
    counts = held(40, columns=12, times=15, plain=True)
    assert counts.min() <= 26, counts


def test_columns_are_the_blocks_and_paths_make_the_visits():
    fes = landscape(biased(8, 40, 0))
    assert fes.blocks == 8
    assert fes.difference((-7.0, 0.0), (0.0, 7.0)).visits is not None


def test_averages_use_the_weights_of_each_draw():
    frames = biased(12, 20, 1)
    positive = average((frames.positions[:, 0] >= 0.0).astype(float), frames, 400, 0, "")
    low, high = positive.ci90 or (np.inf, -np.inf)
    assert low < 1.0 / (1.0 + np.exp(DIFFERENCE)) < high
    fixed = average((frames.positions[:, 0] >= 0.0).astype(float), replace(frames, bias=None), 400, 0, "")
    assert positive.sd > 2.0 * fixed.sd


def test_windows_that_never_mixed_have_no_interval():
    frames = biased(8, 40, 0)
    assert frames.bias is not None
    stuck = replace(frames.bias, replica=frames.trajectory * len(CENTRES) + frames.bias.window)
    fes = landscape(replace(frames, bias=stuck))
    assert fes.difference(LEFT, RIGHT).ci90 is None
    assert any("did not mix" in warning for warning in fes.warnings)


def test_a_constant_in_the_bias_changes_nothing():
    frames = biased(8, 20, 0)
    assert frames.bias is not None
    offset = replace(frames, bias=replace(frames.bias, energies=frames.bias.energies + 1000.0))
    values = frames.positions[:, 0]
    np.testing.assert_allclose(average(values, offset, 50, 0, "").draws, average(values, frames, 50, 0, "").draws)
    np.testing.assert_allclose(landscape(offset).profile, landscape(frames).profile, atol=1e-9)


def test_what_replicas_never_forget_has_no_interval():
    """A second coordinate of two values that no window moves: replicas mix, and nothing is known of it."""
    frames = biased(8, 40, 0)
    assert frames.bias is not None
    stuck = np.where(frames.bias.replica % 2, 1.0, -1.0)
    assert bcg.analysis.mixing(frames).mixed
    unknown = average(stuck, frames, 100, 0, "")
    assert unknown.ci90 is None
    assert "not forgotten" in str(unknown.warning)
    assert average(frames.positions[:, 0], frames, 100, 0, "").ci90 is not None


def test_windows_in_one_trajectory_each_are_no_ladders():
    frames = biased(8, 20, 0)
    assert frames.bias is not None
    order = np.argsort(frames.bias.window, kind="stable")
    apart = replace(frames[order], trajectory=frames.bias.window[order])
    with pytest.raises(bcg.errors.DataError, match="independent ladders"):
        landscape(apart)


def test_two_columns_have_no_error_bar():
    with pytest.raises(bcg.errors.DataError, match="independent ladders"):
        landscape(biased(2, 20, 0))
