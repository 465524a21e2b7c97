"""Simulation-based calibration: exact posteriors have uniform ranks, those that claim too much or are biased do not."""

from typing import Any

import numpy as np
import pytest

import bayescg as bcg
from bayescg.analysis import simulated_truth
from bayescg.data import Frames
from bayescg.errors import ConfigError, ModelError, RunError
from bayescg.models import Autoencoder, HiddenMarkov, ReversibleDeepMSM
from tests.calibration.simulated_truths import Conjugate

QUICK: dict[str, Any] = {"steps": 1, "learning_rate": 1e-9, "compile": "off", "device": "cpu", "validation": 0.0}
QUICK |= {"uncertainty": "laplace", "samples": 500, "progress": False}


@pytest.fixture(scope="module")
def frames():
    return Frames.from_numpy(np.random.default_rng(0).normal(size=(20, 2)), unit="reduced", temperature_kT=1.0)


def test_exact_posteriors_have_uniform_ranks(frames):
    result = simulated_truth(Conjugate(), frames, repeats=60, **QUICK)
    assert result.ok
    assert result.control_fails
    assert result.coverage.control_fails
    assert list(result.ranks) == ["x1", "x2"]
    assert result.coverage["x1"].width == pytest.approx(1.0, abs=0.3)
    assert "ranks of x1: uniform, x2: uniform; control fails" in repr(result)
    assert len(bcg.plot.ranks(result).axes) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(Conjugate(claims=0.4), id="too sure"),
        pytest.param(Conjugate(pull=0.3), id="biased", marks=pytest.mark.slow),
    ],
)
def test_wrong_posteriors_are_found_out(frames, wrong):
    result = simulated_truth(wrong, frames, repeats=40, **QUICK)
    assert not any(result.uniform.values())
    assert not result.coverage.ok
    assert "NOT UNIFORM" in repr(result)


def test_truths_may_be_those_of_a_fit(frames):
    """Where frames tell more than the prior, ranks of truths that a posterior draws are uniform, up to its part."""
    settings = {name: value for name, value in QUICK.items() if name not in ("samples",)}
    reference = bcg.fit(Conjugate(), frames, **settings)
    result = simulated_truth(reference, frames, repeats=25, **QUICK)
    assert all(result.uniform.values())
    assert result.coverage["x1"].held >= 18


def test_few_repeats_cannot_tell_the_control(frames):
    result = simulated_truth(Conjugate(), frames, lambda x: x[:, 0], repeats=8, **QUICK)
    assert list(result.ranks) == ["function"]
    assert not result.control_fails
    assert repr(result).endswith("too few repeats to tell the control")


@pytest.mark.slow
def test_ranks_of_coarse_graining_are_uniform_where_its_data_tell():
    """The decoder of predictive coarse-graining, by the posterior of a fit."""
    model, data, _ = bcg.models.PredictiveCoarseGraining.example()
    settings: dict[str, Any] = {"steps": 600, "device": "cpu", "validation": 0.0, "progress": False, "compile": "trace"}
    reference = bcg.fit(model, data, **settings)
    result = simulated_truth(reference, data, repeats=30, samples=1000, **settings)
    assert result.control_fails
    assert all(row.held >= 0.75 * row.of for row in result.coverage.rows)


def test_what_has_no_truth_is_refused(frames):
    with pytest.raises(ModelError, match="no parameter of Autoencoder has a prior"):
        simulated_truth(Autoencoder(latent_dim=1), frames, repeats=2, progress=False)
    in_time = Frames.from_numpy(np.zeros((200, 3)), unit="reduced", dt=1.0, temperature_kT=1.0)
    for model in (ReversibleDeepMSM(states=2, lag=1.0), HiddenMarkov(states=2, lag=1.0)):
        with pytest.raises(ModelError, match="says how frames follow each other"):
            simulated_truth(model, in_time, repeats=2, progress=False)
    with pytest.raises(RunError, match="do not differ in x1"):
        simulated_truth(Conjugate(), frames, repeats=2, **{**QUICK, "uncertainty": "none"})
    with pytest.raises(ConfigError, match="give a model"):
        simulated_truth("model", frames)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no parameter"):
        next(bcg.inference.prior.prior_draws(Autoencoder(latent_dim=1), frames, 1))
