"""Bayesian p-values of frames that follow the model, correlated in time as those of a simulation are."""

from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from bayescg.analysis import ObservableCheck, Quantity, checklist, predictive_check
from bayescg.analysis.criticism.checklist import dynamics
from bayescg.experiments import Row
from tests.calibration.comparisons import frames_of


class Exact:
    """Stands in for a fit of Gaussian frames, each of its draws the mean of others as many frames are worth."""

    model = None
    frames = None

    def __init__(self, means: np.ndarray):
        self.means = means

    def generate_repeats(self, frames: int, repeats: int = 2, draws: int | None = None, seed: int = 0) -> torch.Tensor:
        noise = np.random.default_rng(seed).normal(size=(len(self.means), frames, repeats))
        return torch.as_tensor((self.means[:, None, None] + noise)[..., None])

    def generate(self, frames: int, draws: int | None = None, seed: int = 0) -> torch.Tensor:
        return self.generate_repeats(frames, 1, draws, seed + 1)[:, :, 0]


def first(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def check(seed: int, kept: float, count: int, refits: int = 19) -> ObservableCheck:
    """Frames worth n independent ones, and a posterior of the mean from others worth as many."""
    rng = np.random.default_rng(seed)
    sd = ((1 + kept) / (1 - kept) / count) ** 0.5
    fit: Any = Exact(sd * rng.normal() + sd * rng.normal(size=refits))
    return predictive_check(fit, frames_of(seed, kept, count), [first], bins=20, seed=seed)["first"]


def p_values(seed: int, kept: float, count: int) -> dict[str, Quantity]:
    """Normal scores of the two p-values, of truth 0 and sd 1: in the interval where p lies between .05 and .95."""
    checked = check(seed, kept, count)
    return {name: score(getattr(checked, name)) for name in ("p_mean", "p_sd")}


def of_checklist(seed: int, kept: float, count: int, sure: bool = False) -> dict[str, Quantity]:
    """Normal scores of the p-value of a distribution, by a posterior of a quarter of as many frames as are checked.

    The refits of one that is `sure` all say the same: the control.
    """
    rng = np.random.default_rng([seed, 1])
    sd = 2 * ((1 + kept) / (1 - kept) / count) ** 0.5
    fit: Any = Exact(sd * rng.normal() + (0.0 if sure else sd) * rng.normal(size=19))
    return {"p": score(checklist(fit, frames_of(seed, kept, count), [first], samples=1000, seed=seed)["first"].p)}


def of_modes(seed: int) -> dict[str, Quantity]:
    """Correlations of a mode at up to five times its lag, of a process without any other memory."""
    frames = frames_of(seed, 0.9, 10_000)
    return {"p": score(dynamics(lambda x: x, frames, 1, seed, lag=2.0)[0].p)}


def score(p: float) -> Quantity:
    z, half = float(norm.ppf(np.clip(p, 5e-4, 1 - 5e-4))), float(norm.ppf(0.95))
    return Quantity(z, 1.0, (z - half, z + half), np.array([z]), "")


ROWS = [
    Row(
        f"p-values-{count}-frames-memory-{kept:g}",
        f"predictive p-values on {count} frames, worth {round(count * (1 - kept) / (1 + kept))}",
        partial(p_values, kept=kept, count=count),
        lambda: {"p_mean": 0.0, "p_sd": 0.0},
    )
    for kept, count in ((0.0, 200), (0.9, 2000), (0.98, 5000))
]
ROWS += [
    Row(
        f"checklist-{count}-frames-memory-{kept:g}",
        f"p-value of a distribution on {count} frames, worth {round(count * (1 - kept) / (1 + kept))}; control: refits "
        "that all say the same",
        partial(of_checklist, kept=kept, count=count),
        lambda: {"p": 0.0},
        partial(of_checklist, kept=kept, count=count, sure=True),
    )
    for kept, count in ((0.0, 400), (0.9, 4000), (0.98, 10_000))
]
ROWS += [
    Row(
        "checklist-correlations-of-a-mode",
        "p-value of correlations at 2 to 5 lags, foretold by those of one, on 10 000 frames worth 526",
        of_modes,
        lambda: {"p": 0.0},
    )
]
