"""Reliability of probabilities that are right by construction, and of some that are too sure."""

from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import commitment_probabilities, reliability
from bayescg.data import Frames
from bayescg.errors import DataError, ModelError
from bayescg.models import MultitaskCV


@pytest.fixture(scope="module")
def fit():
    """A linear committor, its logit set to 2 x."""
    x = np.random.default_rng(0).normal(size=(50, 1))
    frames = Frames.from_numpy(x, unit="reduced", commitments=np.tile([1, 1], (50, 1)))
    model = MultitaskCV(tasks=["commitments"], latent_dim=1, hidden=())
    trained = bcg.fit(model, frames, steps=1, validation=0.0, uncertainty="none", compile="off")
    parts: Any = trained.model
    with torch.no_grad():
        parts.scale.set(torch.zeros(1), torch.ones(1))
        parts.encoder[0].weight.fill_(2.0)
        parts.encoder[0].bias.fill_(0.0)
    return trained


def shots(sharp: float, n: int = 2000) -> Frames:
    """Shots of a committor of logit `sharp` x, some frames without any."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 1))
    total = np.where(np.arange(n) % 7 == 0, 0, 20)
    hits = rng.binomial(total, 1 / (1 + np.exp(-sharp * x[:, 0])))
    return Frames.from_numpy(x, unit="reduced", commitments=np.c_[total - hits, hits])


def test_right_probabilities_come_true(fit):
    found = reliability(fit, shots(2.0))
    z = (found.counted - found.foretold) / found.sd
    assert np.square(z).sum() < 29.6  # 99.9 % of chi squared with 10 degrees of freedom
    assert found.calibration_error < 2.0 * found.expected_error
    assert abs(found.inside - 0.9) < 3.5 * np.sqrt(0.09 / 1714)
    assert found.log_score > found.log_score_constant
    frames = shots(2.0)
    q = 1 / (1 + np.exp(-2 * frames.positions[:, 0]))
    k = np.asarray(frames.commitments)
    assert found.log_score == pytest.approx((k[:, 1] * np.log(q) + k[:, 0] * np.log(1 - q)).sum() / k.sum(), rel=1e-4)
    np.testing.assert_allclose(commitment_probabilities(fit, frames)[0, :, 1], q, rtol=1e-4)


def test_probabilities_that_are_too_sure_do_not(fit):
    """The truth has half the logit: the error is several times what chance makes, and intervals miss."""
    found = reliability(fit, shots(1.0))
    assert found.calibration_error > 5 * found.expected_error
    assert found.inside < 0.8
    assert found.counted[0] > found.foretold[0] + 5 * found.sd[0]
    assert found.counted[-1] < found.foretold[-1] - 5 * found.sd[-1]


def test_what_says_nothing_of_shots_is_refused(fit, toy_frames):
    plain = toy_frames(dim=1)
    with pytest.raises(DataError, match="hold no shots"):
        reliability(fit, plain)
    three = Frames.from_numpy(np.zeros((3, 1)), unit="reduced", commitments=np.ones((3, 3), int))
    with pytest.raises(DataError, match="3 regions for a fit of 2"):
        reliability(fit, three)
    other = bcg.fit(bcg.models.PredictiveCV(latent_dim=1, hidden=()), plain, steps=1, uncertainty="none")
    with pytest.raises(ModelError, match="did not learn where trajectories commit"):
        reliability(other, shots(1.0))
