"""Stretches of trajectories: every frame in one, none across an end or a gap, and fed to a fit as they are."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError
from bayescg.feeding.feed import Feed, observed
from bayescg.models import HiddenMarkov


def ordered(lengths, dt=0.5):
    """Frames whose only coordinate is the time, and a hundred more with each trajectory."""
    x = np.concatenate([100 * k + dt * np.arange(n) for k, n in enumerate(lengths)])
    return Frames.from_numpy(x[:, None], unit="reduced", dt=dt, trajectory=np.repeat(np.arange(len(lengths)), lengths))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_neighbours_in_a_row_are_a_lag_apart(steps):
    frames = ordered([50, 7, 31])
    rows = frames.stretches(0.5 * steps, length=10)
    x = rows.arranged(torch.as_tensor(frames.positions))[..., 0]
    apart = (x[:, 1:] - x[:, :-1])[~x[:, 1:].isnan()]
    assert torch.allclose(apart, torch.full_like(apart, 0.5 * steps))
    assert sorted(rows.index[rows.index >= 0]) == list(range(88))
    assert rows.length <= 15
    assert rows.overlap == steps


def test_no_row_reaches_across_a_gap_or_an_end():
    frames = ordered([40, 40])
    part = frames.subset(np.r_[0:13, 20:80])
    rows = part.stretches(0.5, length=100)
    assert [np.ptp(part.positions[row[row >= 0]]) for row in rows.index] == [6.0, 9.5, 19.5]
    assert rows.trajectory.tolist() == [0, 0, 1]


def test_frames_left_out_evenly_are_neighbours():
    rows = ordered([40])[::2].stretches(length=10)
    assert rows.steps == 1
    assert rows.lag == 1.0


def test_blocks_and_halves_hold_whole_rows():
    rows = ordered([400]).stretches(1.0, length=10)
    blocks = rows.blocks(4)
    assert np.unique(blocks).size == 5
    assert (np.bincount(blocks) == 8).all()
    train, test = rows.split(blocks=10, test=0.2, seed=0)
    shared = np.intersect1d(train.frames.positions, test.frames.positions)
    assert (len(shared), len(train.frames), len(test.frames)) == (0, 320, 80)
    assert rows.fingerprint() != rows.subset(slice(1, None)).fingerprint()


def test_a_feed_gives_rows_of_inputs():
    frames = ordered([23, 9])
    model = HiddenMarkov(states=2, dim=1).double()
    rows = frames.stretches(0.5, length=10)
    feed = Feed(model, rows, 2, torch.device("cpu"), seed=0, weight=torch.ones(len(rows)))
    batch = feed.batch(0)
    assert batch["x"].shape == (2, rows.length, 1)
    whole = observed(model, rows, None, torch.device("cpu"))["x"]
    assert torch.equal(batch["x"].nan_to_num(), whole[feed.indices(0)].nan_to_num())
    assert torch.equal(whole.isnan()[..., 0], torch.as_tensor(rows.index < 0))


def test_what_has_no_stretches_is_refused():
    frames = ordered([9])
    with pytest.raises(DataError, match="no two frames"):
        frames.stretches(5.0)
    with pytest.raises(DataError, match="not a positive multiple"):
        frames.stretches(0.7)
    with pytest.raises(DataError, match="no time axis"):
        Frames.from_numpy(np.zeros((9, 1)), unit="reduced").stretches(1.0)
    with pytest.raises(ConfigError, match="length=1"):
        frames.stretches(0.5, length=1)
    with pytest.raises(DataError, match="an empty selection"):
        frames.stretches(0.5).subset(slice(5, 5))
    with pytest.raises(DataError, match="stretches of trajectories"):
        bcg.fit(bcg.models.PredictiveCV(), frames.stretches(0.5))
