"""Simulation-based calibration: exact posteriors have uniform ranks, those that claim too much or are biased do not."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import simulated_truth
from bayescg.data import Frames
from bayescg.errors import ConfigError, ModelError, RunError
from bayescg.models import Autoencoder

QUICK: dict[str, Any] = {"steps": 1, "learning_rate": 1e-9, "compile": "off", "device": "cpu", "validation": 0.0}
QUICK |= {"uncertainty": "laplace", "samples": 500, "progress": False}


class Conjugate(bcg.Model):
    """Two means, N(0, 1) a priori; frames N(mean, noise^2), whose posterior is Gaussian: Laplace's is exact.

    What it `claims` of the noise makes it too sure, and a pull on the mean biased.
    """

    def __init__(self, claims: float = 1.0, pull: float = 0.0):
        super().__init__()
        self.claims, self.pull, self.mean = claims, pull, torch.nn.Parameter(torch.zeros(2))

    def model(self, batch: bcg.Batch) -> None:
        mean = pyro.sample("mean", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        noise = 1.0 if batch.x is None else self.claims
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(mean.expand(len(batch), 2), noise).to_event(1), obs=batch.x)

    def guide(self, batch: bcg.Batch) -> None:
        """Nothing is hidden."""

    def information(self, batch: bcg.Batch) -> torch.Tensor:
        weight = torch.ones(len(batch)) if batch.weight is None else batch.weight
        return (weight.sqrt()[:, None] * self.mean / self.claims).flatten()

    def solve(self, frames: Any, weight: torch.Tensor) -> None:
        x = torch.as_tensor(frames.gather(slice(None)))
        with torch.no_grad():
            self.mean.copy_(x.sum(0) / (len(x) + self.claims**2) + self.pull)

    @classmethod
    def example(cls):
        raise NotImplementedError


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


@pytest.mark.parametrize("wrong", [Conjugate(claims=0.4), Conjugate(pull=0.3)], ids=["too sure", "biased"])
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
    with pytest.raises(RunError, match="no parameter of Autoencoder has a prior"):
        simulated_truth(Autoencoder(latent_dim=1), frames, repeats=2, progress=False)
    with pytest.raises(RunError, match="do not differ in x1"):
        simulated_truth(Conjugate(), frames, repeats=2, **{**QUICK, "uncertainty": "none"})
    with pytest.raises(ConfigError, match="give a model"):
        simulated_truth("model", frames)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no parameter"):
        next(bcg.inference.prior.prior_draws(Autoencoder(latent_dim=1), frames, 1))
