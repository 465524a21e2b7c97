"""The figure of a committor draws its mean and its spread."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg import plot
from bayescg.errors import DataError


@pytest.fixture(scope="module")
def spring():
    frames = bcg.sampling.overdamped(bcg.systems.Harmonic((1.0, 2.0)), 1000, dt=0.01, chains=20, stride=5)
    sets = (lambda x: x[:, 0] < -1.0), (lambda x: x[:, 0] > 1.0)
    return frames, bcg.analysis.committor(lambda x: torch.cat([x, x**3], 1), frames, *sets, draws=50)


def test_over_the_plane(spring):
    frames, found = spring
    axes = plot.committor(found, frames, frames.positions, ("a", "b"), ("nm", "")).axes
    table, drawn = found.summary(frames.positions), [ax.collections[0] for ax in axes[:2]]
    for one, name in zip(drawn, ("mean", "sd"), strict=True):
        np.testing.assert_allclose(np.sort(np.asarray(one.get_array())), np.sort(table[name].values))
    assert drawn[0].get_clim() == (0.0, 1.0)
    assert axes[0].get_xlabel() == "a (nm)"


def test_along_a_coordinate(spring):
    frames, found = spring
    (ax,) = plot.committor(found, frames, np.deg2rad(frames.positions[:, :1]), ("phi",), ("rad",)).axes
    x, q = map(np.asarray, ax.lines[0].get_data())
    order = np.argsort(frames.positions[:, 0])
    np.testing.assert_allclose(x, frames.positions[order, 0], rtol=1e-5)
    np.testing.assert_allclose(q, found.summary(frames.positions)["mean"].values[order])
    assert ax.get_xlabel() == "φ (°)"


@pytest.mark.parametrize("wrong", ["phi", np.zeros(7), np.zeros((7, 2)), [["a"]], 3.0])
def test_coordinates_that_are_not_of_the_frames_are_refused(spring, wrong):
    frames, found = spring
    modes = bcg.analysis.spectrum(lambda x: x, frames, modes=1, draws=10)
    with pytest.raises(DataError, match=f"one or two numbers for each of {len(frames)}"):
        plot.committor(found, frames, wrong)
    with pytest.raises(DataError, match=f"one or two numbers for each of {len(frames)}"):
        plot.eigenfunctions(modes, frames, wrong)
    with pytest.raises(DataError, match="one or two numbers"):
        plot.eigenfunctions(modes, frames, np.zeros((len(frames), 3)))


def test_exact_values_are_of_each_mode(spring):
    frames, _ = spring
    modes = bcg.analysis.spectrum(lambda x: x, frames, modes=2, draws=10)
    lags = bcg.analysis.implied_timescales(lambda x: x, frames, [0.05, 0.1], modes=2, draws=10)
    for truth in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(DataError, match="each of 2 modes"):
            plot.spectrum(modes, truth)
        with pytest.raises(DataError, match="each of 2 modes"):
            plot.timescales(lags, truth)


def test_lags_of_a_molecule_are_in_picoseconds(spring):
    frames, _ = spring
    for unit, label in (("reduced", "lag"), ("nm", "lag (ps)")):
        asked = bcg.analysis.chapman_kolmogorov(
            lambda x: x.flatten(1), replace(frames, unit=unit), 0.05, modes=1, multiples=(1, 2), draws=10
        )
        assert plot.chapman_kolmogorov(asked).axes[0].get_xlabel() == label
