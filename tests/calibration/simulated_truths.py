"""Simulation-based calibration: posteriors answer for truths that a prior draws, or the posterior of a fit."""

from functools import cache, partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.analysis.simulated_truth import Replicate
from bayescg.data import Frames
from bayescg.experiments import Row
from tests.calibration import coarse_graining

SOLVED: dict[str, Any] = {"steps": 1, "learning_rate": 1e-9, "compile": "off", "device": "cpu", "validation": 0.0}


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


def of_prior(seed: int, claims: float = 1.0) -> dict[str, Quantity]:
    """Two means of 20 frames, by Laplace's posterior, which is exact here, or too sure of the noise."""
    frames = Frames.from_numpy(np.zeros((20, 2)), unit="reduced", temperature_kT=1.0)
    return answers(Replicate(Conjugate(claims), frames, None, 1000, 200, {**SOLVED, "uncertainty": "laplace"}), seed)


def positive(x: torch.Tensor) -> torch.Tensor:
    return (x[:, 0] > 0.5).double()


def product(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] * x[:, 3]


def square(x: torch.Tensor) -> torch.Tensor:
    return (x[:, 1] + 1.0).square()


@cache
def reference() -> bcg.Fit:
    settings = {**coarse_graining.FIT, "uncertainty": "laplace", "device": "cpu", "progress": False}
    return bcg.fit(bcg.models.PredictiveCoarseGraining(nodes=65), coarse_graining.simulate(10**6), **settings)


def of_fit(seed: int) -> dict[str, Quantity]:
    """Three averages by fits to frames of parameters that the posterior of a fit draws."""
    fit = reference()
    assert isinstance(fit.frames, Frames)
    replicate = Replicate(fit, fit.frames, [positive, product, square], 10_000, 100, {"compile": "trace"})
    return answers(replicate, seed)


def answers(replicate: Replicate, seed: int) -> dict[str, Quantity]:
    return {
        name: Quantity(mean, sd, (low, high), np.array([mean]), "")
        for name, (mean, sd, low, high, *_) in replicate(seed).items()
    }


ROWS = [
    Row(
        "simulated-truth-prior",
        "Laplace's posterior of two means from 20 frames, which their prior has drawn, less the truth; control: a "
        "program that takes the noise for half as wide",
        of_prior,
        lambda: {"x1": 0.0, "x2": 0.0},
        partial(of_prior, claims=0.5),
    ),
    Row(
        "simulated-truth-fit",
        "averages that `PredictiveCoarseGraining` predicts from 400 frames, whose parameters the posterior of a fit "
        "has drawn, less the truth",
        of_fit,
        lambda: dict.fromkeys(("positive", "product", "square"), 0.0),
    ),
]
