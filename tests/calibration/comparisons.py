"""Differences of held-out scores: of densities that are known, of factor models, and of trainings that chance ends."""

from functools import cache, partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.signal import lfilter
from torch import Tensor

import bayescg as bcg
from bayescg.analysis import Comparison, Quantity, compare
from bayescg.analysis.comparing.comparison_table import estimate
from bayescg.data import Frames
from bayescg.experiments import Row

SHIFT, BEND = 0.3, 0.2
AT_ONCE: dict[str, Any] = {"steps": 1, "learning_rate": 1e-9, "compile": "off", "validation": 0.0, "device": "cpu"}
ALONE: dict[str, Any] = {**AT_ONCE, "uncertainty": "none", "progress": False}


class Gaussian(bcg.Model):
    """Frames around `shift` with a standard deviation of 1, and as good as nothing to train.

    Where a training ends by chance, `unsure` is how far from there, one standard deviation.
    """

    def __init__(self, shift: float, unsure: float = 0.0):
        super().__init__()
        self.shift, self.unsure = shift, unsure
        self.log_sd, self.off = (torch.nn.Parameter(torch.zeros(())) for _ in range(2))

    def reset(self) -> None:
        with torch.no_grad():
            self.off.copy_(self.unsure * torch.randn(()))

    def model(self, batch: bcg.Batch) -> None:
        assert batch.x is not None
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(self.shift + self.off, self.log_sd.exp()), obs=batch.x[:, 0])

    def guide(self, batch: bcg.Batch) -> None:
        """Nothing is hidden."""

    @classmethod
    def example(cls):
        raise NotImplementedError


class Factors(bcg.Model):
    """Probabilistic principal components in closed form (Tipping, Bishop 1999, eqs. (7) and (8)): nested in `count`."""

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.count, self.dim = count, dim
        self.mean, self.tril = torch.nn.Parameter(torch.zeros(dim)), torch.nn.Parameter(torch.eye(dim))

    def model(self, batch: bcg.Batch) -> None:
        assert batch.x is not None
        with batch.plate("frames"):
            pyro.sample("x", dist.MultivariateNormal(self.mean, scale_tril=self.tril), obs=batch.x)

    def guide(self, batch: bcg.Batch) -> None:
        """Nothing is hidden."""

    def solve(self, frames: Any, weight: Tensor) -> None:
        x = torch.as_tensor(frames.gather(slice(None))).double()
        mean, cov = x.mean(0), torch.as_tensor(of_factors(np.cov(x.numpy().T, bias=True), self.count))
        with torch.no_grad():
            self.mean.copy_(mean)
            self.tril.copy_(torch.linalg.cholesky(cov))

    @classmethod
    def example(cls):
        raise NotImplementedError


def of_factors(cov: np.ndarray, count: int) -> np.ndarray:
    """The most likely covariance with so many factors, of frames with covariance (..., d, d)."""
    values, axes = np.linalg.eigh(cov)
    noise = values[..., :-count].mean(-1, keepdims=True)
    values = np.concatenate([np.broadcast_to(noise, values[..., :-count].shape), values[..., -count:]], -1)
    return (axes * values[..., None, :]) @ np.swapaxes(axes, -1, -2)


LOADINGS = np.random.default_rng(5).normal(size=(2, 5))
DIM, FACTORS = 5, 300


def two_factors(rng: np.random.Generator, kept: float, *shape: int) -> np.ndarray:
    """Frames (..., n, 5) of two factors, which remember, and noise, which does not."""
    z = (1 - kept**2) ** 0.5 * rng.normal(size=(*shape, 2))
    z[..., 0, :] /= (1 - kept**2) ** 0.5
    return lfilter([1.0], [1.0, -kept], z, axis=-2) @ LOADINGS + 0.7 * rng.normal(size=(*shape, DIM))


def frames_of(seed: int, kept: float, count: int) -> Frames:
    """An autoregressive process with variance 1, (count, 1); its statistical inefficiency is (1 + kept)/(1 - kept)."""
    rng = np.random.default_rng(seed)
    noise = (1 - kept**2) ** 0.5 * rng.normal(size=count)
    x, _ = lfilter([1.0], [1.0, -kept], noise, zi=kept * rng.normal(size=1))
    return Frames.from_numpy(x[:, None], unit="reduced", dt=1.0, temperature_kT=1.0)


@cache
def fits() -> dict[str, Any]:
    frames = frames_of(10**6, 0.0, 200)
    return {f"{s:+g}": bcg.fit(Gaussian(s), frames, **ALONE) for s in (SHIFT, -SHIFT)}


def difference(seed: int, kept: float, count: int) -> dict[str, Quantity]:
    """Of the scores of two densities as far to the left as to the right: the truth is 0."""
    table = compare(fits(), frames_of(seed, kept, count))
    return {"difference": table.difference(f"{SHIFT:+g}", f"{-SHIFT:+g}")}


def factor_frames(seed: int, kept: float) -> Frames:
    x = two_factors(np.random.default_rng([seed, 7]), kept, FACTORS)
    return Frames.from_numpy(x, unit="reduced", dt=1.0, temperature_kT=1.0)


def by_folds(seed: int, kept: float) -> dict[str, Quantity]:
    """Factors too few and too many, cross-validated in five folds."""
    candidates = {str(count): Factors(count, DIM) for count in (1, 2, 3)}
    table = compare(candidates, factor_frames(seed, kept), folds=5, seed=seed, progress=False, **AT_ONCE)
    return {"too few": table.difference("1", "2"), "too many": table.difference("3", "2")}


@cache
def expected(kept: float, repeats: int = 4000) -> dict[str, float]:
    """Expected differences of the log scores of a frame by five folds, over data sets."""
    rng, parts = np.random.default_rng(0), []
    for _ in range(repeats // 500):
        x = two_factors(rng, kept, 500, FACTORS)
        for fold in np.split(np.arange(FACTORS), 5):
            train = np.delete(x, fold, 1)
            mean = train.mean(1, keepdims=True)
            cov = np.swapaxes(train - mean, 1, 2) @ (train - mean) / train.shape[1]
            apart = x[:, fold] - mean
            scores = []
            for count in (1, 2, 3):
                fitted = of_factors(cov, count)
                far = np.einsum("rni,rij,rnj->rn", apart, np.linalg.inv(fitted), apart).mean(1)
                scores.append(-0.5 * (far + np.linalg.slogdet(2 * np.pi * fitted)[1]))
            parts.append([(scores[0] - scores[1]).mean(), (scores[2] - scores[1]).mean()])
    return dict(zip(("too few", "too many"), np.mean(parts, 0).tolist(), strict=True))


def kinetic(seed: int) -> dict[str, Quantity]:
    """Of a bent function of the process above the process itself, by both scores of slow modes."""
    functions, frames = {"x": lambda x: x, "bent": lambda x: x + BEND * x**2}, frames_of(seed, 0.9, 100_000)
    tables = {score: compare(functions, frames, score, lag=1.0, modes=1) for score in ("vamp2", "vampe")}
    return {score: table.difference("bent", "x") for score, table in tables.items()}


def kinetic_truth() -> dict[str, float]:
    """1 + C^2 of each, with C the correlation after a lag, less C^2 times the variance of its square over a block.

    That of the bent function is a sum over Hermite polynomials m, which forget themselves as r^m; ten blocks.
    """
    scores = {}
    for name, bend in (("x", 0.0), ("bent", BEND)):
        scale, r = 1 + 2 * bend**2, 0.9 ** np.arange(1, 5)
        of_square = np.array([16 * bend**2, 2 * (1 + 4 * bend**2) ** 2, 24 * bend**2, 24 * bend**4]) / scale**2
        correlation = (r[0] + 2 * bend**2 * r[1]) / scale
        lost = of_square @ ((1 + r) / (1 - r)) / 10_000
        scores[name] = correlation**2 * np.array([1.0, 1.0 - lost])
    return dict(zip(("vamp2", "vampe"), (scores["bent"] - scores["x"]).tolist(), strict=True))


UNSURE, TRAININGS = 0.2, 5


def chance_ends(seed: int, refit: bool) -> Comparison:
    """Two densities of the same score, each of whose trainings ends somewhere else."""
    frames = frames_of(seed, 0.0, 2000)
    models = {f"{s:+g}": Gaussian(s, UNSURE) for s in (SHIFT, -SHIFT)}
    if refit:
        return compare(models, frames, folds=5, seed=seed, progress=False, **AT_ONCE)
    each = {
        name: [bcg.fit(model, frames, seed=20 * seed + 10 * k + r, **ALONE) for r in range(TRAININGS)]
        for k, (name, model) in enumerate(models.items())
    }
    return compare(each, frames_of(seed + 10**5, 0.0, 1000))


def of_trainings(seed: int, refit: bool) -> dict[str, Quantity]:
    """The difference, with the error of what training adds."""
    return {"difference": chance_ends(seed, refit).difference(f"{SHIFT:+g}", f"{-SHIFT:+g}")}


def of_frames_alone(seed: int, refit: bool) -> dict[str, Quantity]:
    """The control: the error is that of the held-out frames, by trainings as they happened to end."""
    table = chance_ends(seed, refit)
    a, b = (table[f"{s:+g}"].blocks for s in (SHIFT, -SHIFT))
    if refit:  # as if all folds were blocks of one training
        x = table.difference(f"{SHIFT:+g}", f"{-SHIFT:+g}")
        se = 2 * SHIFT / 2000**0.5
        return {"difference": Quantity.of(x.mean + se * np.random.default_rng(0).normal(size=999), "nat")}
    only = estimate({1: a[None], -1: b[None]})
    return {"difference": Quantity.of(only.mean + only.se * np.random.default_rng(0).normal(size=999), "nat")}


ROWS = [
    *(
        Row(
            f"log-score-difference-{count}-frames-memory-{kept:g}",
            f"difference of two log scores on {count} frames, worth {round(count * (1 - kept) / (1 + kept))}",
            partial(difference, kept=kept, count=count),
            lambda: {"difference": 0.0},
        )
        for kept, count in ((0.0, 1000), (0.9, 2000), (0.98, 2000))
    ),
    Row(
        "kinetic-scores",
        "score of the modes in a bent function above that of the process, 100 000 frames worth 5263",
        kinetic,
        kinetic_truth,
    ),
    *(
        Row(
            f"cross-validated-factors-memory-{kept:g}",
            f"log score of one factor, and of three, above that of two, by 5 folds of {FACTORS} frames of two factors"
            + (f" of memory {kept:g}" if kept else ""),
            partial(by_folds, kept=kept),
            partial(expected, kept),
        )
        for kept in (0.0, 0.8)
    ),
    *(
        Row(
            f"log-score-difference-{name}",
            f"difference of two log scores of densities whose trainings end by chance, {about}; control: the error of "
            "the frames alone",
            partial(of_trainings, refit=refit),
            lambda: {"difference": 0.0},
            partial(of_frames_alone, refit=refit),
        )
        for name, about, refit in (
            ("trainings", f"{TRAININGS} trainings each on 1000 held-out frames", False),
            ("folds", "one on each of 5 folds of 2000 frames", True),
        )
    ),
]
