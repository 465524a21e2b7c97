"""Differences of held-out scores on correlated frames, of two densities that are known."""

from functools import cache, partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.signal import lfilter

import bayescg as bcg
from bayescg.analysis import Quantity, compare
from bayescg.data import Frames
from bayescg.experiments import Row

SHIFT = 0.3


class Gaussian(bcg.Model):
    """Frames around `shift` with a standard deviation of 1, and as good as nothing to train."""

    def __init__(self, shift: float):
        super().__init__()
        self.shift, self.log_sd = shift, torch.nn.Parameter(torch.zeros(()))

    def model(self, batch: bcg.Batch) -> None:
        assert batch.x is not None
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(self.shift, self.log_sd.exp()), obs=batch.x[:, 0])

    def guide(self, batch: bcg.Batch) -> None:
        """Nothing is hidden."""

    @classmethod
    def example(cls):
        raise NotImplementedError


def frames_of(seed: int, kept: float, count: int) -> Frames:
    """An autoregressive process with variance 1, (count, 1); its statistical inefficiency is (1 + kept)/(1 - kept)."""
    rng = np.random.default_rng(seed)
    noise = (1 - kept**2) ** 0.5 * rng.normal(size=count)
    x, _ = lfilter([1.0], [1.0, -kept], noise, zi=kept * rng.normal(size=1))
    return Frames.from_numpy(x[:, None], unit="reduced", dt=1.0, temperature_kT=1.0)


@cache
def fits() -> dict[str, Any]:
    settings: dict[str, Any] = {"steps": 1, "learning_rate": 1e-9, "uncertainty": "none", "compile": "off"}
    settings |= {"progress": False, "validation": 0.0}
    frames = frames_of(10**6, 0.0, 200)
    return {f"{s:+g}": bcg.fit(Gaussian(s), frames, **settings) for s in (SHIFT, -SHIFT)}


def difference(seed: int, kept: float, count: int) -> dict[str, Quantity]:
    """Of the scores of two densities as far to the left as to the right: the truth is 0."""
    table = compare(fits(), frames_of(seed, kept, count))
    return {"difference": table.difference(f"{SHIFT:+g}", f"{-SHIFT:+g}")}


ROWS = [
    Row(
        f"log-score-difference-{count}-frames-memory-{kept:g}",
        f"difference of two log scores on {count} frames, worth {round(count * (1 - kept) / (1 + kept))}",
        partial(difference, kept=kept, count=count),
        lambda: {"difference": 0.0},
    )
    for kept, count in ((0.0, 1000), (0.9, 2000), (0.98, 2000))
]
