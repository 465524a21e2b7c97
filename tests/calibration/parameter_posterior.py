"""What fits predict, and means of correlated frames: intervals of every `uncertainty=` that claims one.

Predictions are of data from a known member of the model family: six dimensions, one latent variable, 200 frames. Three
observables are averaged over what the fit generates: the distance of two triples of coordinates, the product of two
coordinates, and a probability. The truth is an average over four million draws.
"""

from functools import cache, partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.signal import lfilter
from torch import nn

import bayescg as bcg
from bayescg.data import Frames
from bayescg.experiments import Row
from bayescg.models import PredictiveCV

OBSERVABLES = ("distance", "product", "probability")
FIT = {"objective": "iwae", "validation": 0.0, "batch_size": 200, "learning_rate": 0.03, "steps": 600}
PARTICLES = {"laplace": 24, "mean-field": 24, "ensemble": 8, "bootstrap": 8}
MEAN = 0.7


def simulate(frames: int, generator: torch.Generator) -> torch.Tensor:
    """Frames (n, 6) of a member of the family: a tanh decoder with eight hidden units and Gaussian noise."""
    fixed = torch.Generator().manual_seed(7)
    into, shift = 1.2 * torch.randn(8, 1, generator=fixed), 0.7 * torch.randn(8, generator=fixed)
    out = 0.6 * torch.randn(6, 8, generator=fixed)
    noise = torch.tensor([0.3, 0.4, 0.3, 0.5, 0.4, 0.3])
    z = torch.randn(frames, 1, generator=generator)
    return torch.tanh(z @ into.T + shift) @ out.T + noise * torch.randn(frames, 6, generator=generator)


def observe(x: torch.Tensor) -> torch.Tensor:
    """Averages of the three observables over configurations (n, 6)."""
    distance = (x[:, :3] - x[:, 3:]).norm(dim=-1)
    return torch.stack([distance, x[:, 0] * x[:, 1], (x[:, 2] > 0.8).float()], -1).mean(0)


@cache
def truth() -> dict[str, float]:
    generator = torch.Generator().manual_seed(99)
    averages = torch.stack([observe(simulate(1_000_000, generator)) for _ in range(4)]).mean(0)
    return dict(zip(OBSERVABLES, averages.tolist(), strict=True))


def predictions(seed: int, choice: str, samples: int = 20_000, **settings: Any) -> dict[str, np.ndarray]:
    """Draws of the averages that a fit of 200 fresh frames predicts."""
    x = simulate(200, torch.Generator().manual_seed(1000 + seed))
    frames = Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=1.0)
    settings = {**FIT, "particles": PARTICLES[choice], **settings}
    fit = bcg.fit(PredictiveCV(latent_dim=1, hidden=(8,)), frames, uncertainty=choice, seed=seed, **settings)
    # draw by draw: blocks of many megabytes, with small results kept in between, leave the heap in pieces
    averages = torch.stack([observe(x.flatten(1)) for x in fit.generate(samples, seed=seed)]).numpy()
    return dict(zip(OBSERVABLES, averages.T, strict=True))


class Located(bcg.Model):
    """Frames of unit variance around means, the only parameters, with next to no prior."""

    def __init__(self, count: int = 1) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(count))

    def model(self, batch: bcg.Batch) -> None:
        mean = pyro.sample("mean", bcg.nets.gaussian(10.0)(self.mean))
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=batch.x)

    def guide(self, batch: bcg.Batch) -> None:
        """Nothing is hidden."""

    @classmethod
    def example(cls):
        raise NotImplementedError


def mean_of_correlated(seed: int, choice: str, inefficiency: float, count: int) -> dict[str, np.ndarray]:
    """Draws of the mean of an autoregressive process, whose frames are as many to an independent one."""
    kept, rng = (inefficiency - 1) / (inefficiency + 1), np.random.default_rng(seed)
    noise = (1 - kept**2) ** 0.5 * rng.normal(size=count)
    x, _ = lfilter([1.0], [1.0, -kept], noise, zi=kept * rng.normal(size=1))
    frames = Frames.from_numpy(x[:, None] + MEAN, unit="reduced", dt=1.0, temperature_kT=1.0)
    fit = bcg.fit(
        Located(), frames, uncertainty=choice, seed=seed, steps=150, batch_size=count, validation=0.0,
        learning_rate=0.1, compile="trace",
    )  # fmt: skip
    return {"mean": fit.parameters(seed=seed)["mean"][:, 0].numpy()}


ROWS = [
    *(
        Row(
            f"predictions-{choice}",
            f"{choice}: predicted averages of `PredictiveCV` fitted to 200 frames, 600 steps at 0.03, IWAE of "
            f"{PARTICLES[choice]} draws, no validation",
            partial(predictions, choice=choice),
            truth,
            expect="no claim" if choice == "mean-field" else "right",
        )
        for choice in PARTICLES
    ),
    *(
        Row(
            f"mean-{choice}-inefficiency-{g:g}",
            f"{choice}: mean of {count} frames of statistical inefficiency {g:g}",
            partial(mean_of_correlated, choice=choice, inefficiency=g, count=count),
            lambda: {"mean": MEAN},
        )
        for choice, g, count in (
            ("bootstrap", 1.0, 400),
            ("bootstrap", 1.5, 400),
            ("bootstrap", 9.0, 2000),
            ("laplace", 9.0, 2000),
        )
    ),
]
