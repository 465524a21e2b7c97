"""What one method found of one data set whose slowest eigenfunction is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg import sampling, truth
from bayescg.analysis import spectrum
from bayescg.analysis.evaluation import evaluate
from bayescg.modelling import HasBasis

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.inference import Fit
    from bayescg.systems.analytic import AnalyticSystem

__all__ = ["Exact", "Found", "coordinates", "functions_of", "measure", "one_cv"]

_KNOTS = 40
_RARE = 0.005
_BINS = 40
_POINTS = 20_000


class Exact:
    """The slowest mode of a system, and independent equilibrium draws to judge CVs at.

    Parameters
    ----------
    system : AnalyticSystem

    Attributes
    ----------
    timescale : float
    x : Tensor, (n, dim)
    phi : ndarray, (n,)
        The eigenfunction there.
    """

    def __init__(self, system: AnalyticSystem):
        found = truth.spectrum(system, modes=1)
        self.function = lambda x: found.eigenfunctions(torch.as_tensor(x).double())[..., 0]
        self.timescale = float(found.timescales[0])
        self.x = torch.as_tensor(sampling.equilibrium(system, _POINTS, seed=0).positions)
        self.phi = self.function(self.x).numpy()


@dataclass(frozen=True)
class Found:
    """What one method found.

    Attributes
    ----------
    cv : callable
        From positions to (n, 1).
    r2 : float
        Squared correlation with the exact eigenfunction, at equilibrium.
    within : float
        Share of the variance of the CV inside the wells: where the exact eigenfunction has one sign.
    reconstruction : float
        Part of the variance of the coordinates, each of unit variance, that no function of the CV explains, however
        steep.
    coarse_reconstruction : float
        The same of a CV that is known to a fortieth of its range.
    timescale : ndarray, (draws,)
        The slowest in functions of the CV, with the lag.
    cv_timescale : ndarray, (draws,)
        Of the CV itself, as if it were the eigenfunction: never longer in the mean.
    own_timescale : ndarray, (draws,), or None
        The slowest by the method's own route, in all functions that it learned; None: it has none but the CV.
    """

    cv: Callable[[Tensor], Tensor]
    r2: float
    within: float
    reconstruction: float
    coarse_reconstruction: float
    timescale: np.ndarray
    cv_timescale: np.ndarray
    own_timescale: np.ndarray | None


def measure(fit: Any, train: Frames, frames: Frames, exact: Exact, lag: float, draws: int, seed: int) -> Found:
    """What a fit, or a basis that was learned by nobody, found.

    Parameters
    ----------
    fit : Fit or callable
    train, frames : Frames
        Those of the training, and all of them.
    exact : Exact
    lag : float
    draws, seed : int
    """
    cv = one_cv(fit, train, lag)
    with torch.no_grad():
        z = cv(exact.x).double().cpu().numpy()[:, 0]
    inside = exact.phi > 0
    varies = sum(z[well].var() * well.mean() for well in (inside, ~inside)) / z.var()
    x = np.asarray(exact.x, np.float64)
    even = np.linspace(0, 1, _BINS + 1)[1:-1]
    low, high = np.quantile(z, [_RARE, 1 - _RARE])

    def slowest(basis: Any, at: float | None) -> np.ndarray:
        return spectrum(basis, frames, at, modes=1, draws=draws, seed=seed).timescales.values[:, 0]

    wide = isinstance(model := getattr(fit, "model", None), HasBasis) and model.basis(exact.x[:1]).shape[1] > 1
    return Found(
        cv=cv,
        r2=float(np.corrcoef(z, exact.phi)[0, 1] ** 2),
        within=float(varies),
        reconstruction=_unexplained(z, x, np.quantile(z, even)),
        coarse_reconstruction=_unexplained(z, x, low + (high - low) * even),
        timescale=slowest(functions_of(cv, train), lag),
        cv_timescale=slowest(cv, lag),
        own_timescale=slowest(fit, None) if wide else None,
    )


def coordinates(x: Tensor) -> Tensor:
    """Flat coordinates (n, dim): the basis of linear TICA."""
    return x.flatten(1)


def one_cv(fit: Fit | Callable[[Tensor], Tensor], train: Frames, lag: float) -> Callable[[Tensor], Tensor]:
    """The CV of a method that has one; else the slowest mode in its functions."""
    if hasattr(fit, "cv") and tuple(fit.cv(train.gather([0])).event_shape) == (1,):  # type: ignore[union-attr]
        return lambda x: fit.cv(x).mean  # type: ignore[union-attr]
    found = spectrum(fit, train, None if hasattr(fit, "model") else lag, modes=1, draws=50).functions[0]
    weights, constant = torch.as_tensor(found.coefficients.mean(0)), float(found.constant.mean())

    def leading(x: Tensor) -> Tensor:
        with torch.no_grad():
            return found.basis(x).double() @ weights + constant

    return leading


def functions_of(cv: Callable[[Tensor], Tensor], frames: Frames) -> Callable[[Tensor], Tensor]:
    """Hat functions of a CV, a basis of its piecewise linear functions: knots at quantiles, and even ones.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> frames = Frames.from_numpy(np.linspace(0, 1, 100)[:, None], unit="reduced")
    >>> hats = functions_of(lambda x: x, frames)(torch.tensor([[0.0], [0.3], [2.0]]))
    >>> hats.sum(1).tolist(), hats[0, 0].item(), hats[2, -1].item()
    ([1.0, 1.0, 1.0], 1.0, 1.0)
    """
    z = evaluate(cv, frames)[:, 0]
    even = np.linspace(_RARE, 1 - _RARE, _KNOTS)
    tried = np.sort(np.concatenate([np.quantile(z, even), z.min() + np.ptp(z) * even]))
    chosen, below = [tried[0]], np.searchsorted(np.sort(z), tried) / len(z)
    last = below[0]
    for knot, share in zip(tried[1:], below[1:], strict=True):  # a function that only few frames see has no error bar
        if share - last >= _RARE:
            chosen.append(knot)
            last = share
    knots = torch.as_tensor(np.array(chosen))

    def hats(x: Tensor) -> Tensor:
        with torch.no_grad():
            z = cv(x).double().cpu()[:, 0].contiguous()
        left = (torch.searchsorted(knots, z) - 1).clamp(0, len(knots) - 2)
        share = ((z - knots[left]) / (knots[left + 1] - knots[left])).clamp(0, 1)
        out = z.new_zeros(len(z), len(knots))
        out.scatter_(1, left[:, None], 1 - share[:, None])
        return out.scatter_(1, left[:, None] + 1, share[:, None])

    return hats


def _unexplained(z: np.ndarray, x: np.ndarray, edges: np.ndarray) -> float:
    """Error of the mean coordinates in bins of the CV, found on one half of the points, on the other half."""
    x = (x - x.mean(0)) / x.std(0)
    one, two = slice(None, None, 2), slice(1, None, 2)
    bins = np.searchsorted(edges, z)
    counts = np.bincount(bins[one], minlength=_BINS).clip(1)
    means = np.stack([np.bincount(bins[one], column[one], _BINS) / counts for column in x.T], 1)
    return float(np.square(x[two] - means[bins[two]]).mean())
