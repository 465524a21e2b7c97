"""Fits that stopped before their optimum say so, and those that reached it do not."""

from typing import Any

import pytest
import torch

import bayescg as bcg
from bayescg.inference.convergence import distance_from_optimum
from bayescg.inference.job import Job
from bayescg.inference.uncertainty import Posterior
from tests.inference.test_conjugate import GaussianMean, draws, exact

SETTINGS: dict[str, Any] = {
    "steps": 10, "batch_size": 200, "validation": 0.0, "uncertainty": "laplace", "members": None,
    "learning_rate": 1e-3, "clip": 100.0, "seed": 0, "objective": "elbo", "particles": 1,
}  # fmt: skip


@pytest.mark.parametrize("batch_size", [200, 20])
@pytest.mark.parametrize("away", [0.0, 0.3, 3.0])
def test_the_distance_is_the_exact_one(away, batch_size):
    """Of the mean of a Gaussian: the posterior is known, and so is how far a value is from its centre."""
    frames = draws()
    mean, sd = exact(frames, len(frames))
    job = Job(GaussianMean(), frames, {**SETTINGS, "batch_size": batch_size}, "off", torch.device("cpu"))
    job.params["inner.mean"].fill_(mean + away * sd)
    parts = {"sd": torch.tensor([sd]), "basis": torch.zeros(1, 1), "shrink": torch.ones(1)}
    distance = distance_from_optimum(job, Posterior("laplace", {}, parts, ("mean",)))
    assert distance == pytest.approx(away, abs=1e-3)


def test_what_a_part_of_the_frames_leaves_open_is_no_distance():
    """At the optimum of 40 000 frames, of which 64 batches of 20 are looked at: their mean alone is 5.6 sd away."""
    frames = draws(40_000)
    mean, sd = exact(frames, len(frames))
    job = Job(GaussianMean(), frames, {**SETTINGS, "batch_size": 20}, "off", torch.device("cpu"))
    parts = {"sd": torch.tensor([sd]), "basis": torch.zeros(1, 1), "shrink": torch.ones(1)}
    posterior, distances = Posterior("laplace", {}, parts, ("mean",)), []
    for away in (0.0, 30.0):
        job.params["inner.mean"].fill_(mean + away * sd)
        distances.append(distance_from_optimum(job, posterior) or 0.0)
    assert distances[0] < 10
    assert distances[1] == pytest.approx(30, abs=15)


def test_a_laplace_fit_that_stopped_early_says_so():
    """Steps too short to reach a mean of 0.7, ten posterior standard deviations away; enough of them are silent."""
    short, long = (
        bcg.fit(GaussianMean(), draws(), uncertainty="laplace", validation=0.0, steps=steps, learning_rate=2e-2, seed=0)
        for steps in (20, 600)
    )
    assert short.diagnostics["distance_from_optimum"] > 3
    assert any("posterior standard deviations from the optimum" in w for w in short.diagnostics["warnings"])
    assert long.diagnostics["distance_from_optimum"] < 0.1
    assert not any("optimum" in w or "converged" in w for w in long.diagnostics["warnings"])


@pytest.mark.parametrize("validation", [0.0, 0.2])
@pytest.mark.parametrize(("steps", "converged"), [(50, False), (1500, True)])
def test_a_loss_that_still_falls_is_told_of(steps, converged, validation):
    fit = bcg.fit(GaussianMean(), draws(), steps=steps, validation=validation, learning_rate=1e-2, seed=0)
    assert any("has not converged" in w for w in fit.diagnostics["warnings"]) != converged
