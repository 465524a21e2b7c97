"""The figure of a committor draws its mean and its spread."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg import plot


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
