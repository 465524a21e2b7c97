"""How much the CVs of a fit tell of a configuration, and what of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial import KDTree

from bayescg.analysis.block_bootstrap import weights_of
from bayescg.analysis.evaluation import evaluate, label, named_observables, unit_of
from bayescg.analysis.resampled import average
from bayescg.arguments import check_counts
from bayescg.data import evenly
from bayescg.distributions import WrappedNormal
from bayescg.errors import DataError, ModelError
from bayescg.modelling import HasCV
from bayescg.recording.functional import seeded

if TYPE_CHECKING:
    from bayescg.analysis.quantity import Quantity
    from bayescg.data import Frames

__all__ = ["CVInformation", "cv_information"]

_FRAMES = 8000
_FEWEST = 200
_NEIGHBOURS = 20
_AT_ONCE = 2_000_000
"""Log densities."""


@dataclass(frozen=True)
class CVInformation:
    """What CVs tell of configurations.

    Attributes
    ----------
    mutual_information : Quantity
        Nats. Two equal states that are told apart are worth log 2; 0: the CVs have collapsed.
    explained : dict of str to float
        Of each observable, the fraction of its variance that is known where the mean CVs are, ``fit.cv(x).mean`` (R
        squared); of an angle, of the variances of its cosine and its sine, ``"cos phi"``, ``"sin phi"``. A CV that
        tells next to nothing may still have a mean that tells much: read it beside the mutual information.
    explained_by_draw : dict of str to float
        The same where one draw of the CVs is known, which their own width blurs.
    """

    mutual_information: Quantity
    explained: dict[str, float] = field(default_factory=dict)
    explained_by_draw: dict[str, float] = field(default_factory=dict)


def cv_information(
    fit: Any, frames: Frames, observables: Sequence[str | Callable[..., Any]] = (), draws: int = 200, seed: int = 0
) -> CVInformation:
    r"""Mutual information of a fit's CVs with the configurations, and what observables follow from the CVs.

    .. math:: I(z; x) = E_{p(x)\,r(z | x)}\Bigl[\log r(z \mid x) - \log \sum_m w_m\, r(z \mid x_m)\Bigr]

    with r the distribution ``fit.cv(x)``. The frames :math:`x_m`, one half of them, are not those that z comes from:
    what is too narrow to be seen twice would tell nothing of the others. What the CVs say of an observable is its mean
    over the 20 frames of the one half whose CVs are nearest to those of a frame of the other.

    Parameters
    ----------
    fit : Fit
        Of a model with CVs that have a density.
    frames : Frames
        Weights are respected; of many, 8000 are taken, evenly spaced.
    observables : sequence of str or callable
        Names of :mod:`bayescg.features.observables`, or functions of positions.
    draws, seed : int

    Raises
    ------
    ModelError
        The model has no CVs, or they have no density.
    DataError
        There are fewer than 200 frames.

    References
    ----------
    T. Cover, J. Thomas, "Elements of information theory" (2006), section 8.5.

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import PredictiveCV
    >>> model, *_ = PredictiveCV.example()
    >>> x = np.random.default_rng(0).normal(size=(1000, 4))
    >>> frames = bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    >>> fit = bcg.fit(model, frames, steps=100, uncertainty="none", seed=0)
    >>> found = bcg.analysis.cv_information(fit, frames, [lambda x: x[:, 0]])
    >>> found.mutual_information.unit, list(found.explained)
    ('nats', ['function'])
    """
    if not isinstance(fit.model, HasCV):
        raise ModelError(f"{type(fit.model).__name__} has no CVs that could tell of a configuration")
    check_counts(draws=(draws, 10), seed=(seed, 0))
    if len(frames) < _FEWEST:
        raise DataError(f"{len(frames)} frames are too few to tell what CVs know of them: give at least {_FEWEST}")
    index = evenly(frames, _FRAMES)
    first, second = frames.subset(index[::2]), frames.subset(index[1::2])
    with seeded(seed, fit.device), torch.no_grad():
        near, far = (
            fit.cv(torch.as_tensor(half.gather(np.arange(len(half)))).to(fit.device)) for half in (first, second)
        )
        try:
            z, others = near.sample(), far.sample()
            gain = near.log_prob(z) - _log_marginal(far, z, weights_of(second))
        except NotImplementedError as error:
            raise ModelError(f"the CVs of {type(fit.model).__name__} have no density") from error
    information = average(gain.double().cpu().numpy(), first, draws, seed, "nats")
    angular, values = isinstance(near, WrappedNormal), _values(observables, fit, first, second)
    of_mean: dict[str, float] = {}
    of_draw: dict[str, float] = {}
    for explained, there, here in ((of_mean, far.mean, near.mean), (of_draw, others, z)):
        nearest = KDTree(_embedded(there, angular)).query(_embedded(here, angular), k=_NEIGHBOURS)[1]
        for name, (of_first, of_second) in values.items():
            foretold = np.average(of_second[nearest], axis=1, weights=weights_of(second)[nearest])
            explained[name] = _r_squared(of_first, foretold, weights_of(first))
    return CVInformation(information, of_mean, of_draw)


def _values(
    observables: Sequence[str | Callable[..., Any]], fit: Any, first: Frames, second: Frames
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values of observables of two sets of frames by name; of an angle its cosine and its sine."""
    table = {}
    for function in named_observables(observables, fit, first):
        values = evaluate(function, first), evaluate(function, second)
        parts = {"cos ": np.cos, "sin ": np.sin} if unit_of(function) == "rad" else {"": np.asarray}
        table |= {prefix + label(function): (part(values[0]), part(values[1])) for prefix, part in parts.items()}
    return table


def _log_marginal(cv: Any, z: torch.Tensor, weights: np.ndarray) -> torch.Tensor:
    """Log density of the CVs over all configurations, at values ``(n, dim)``, ``(n,)``."""
    log_weights = torch.as_tensor(np.log(np.maximum(weights / weights.sum(), 1e-300)), device=z.device, dtype=z.dtype)
    parts = z.split(max(1, _AT_ONCE // len(weights)))
    return torch.cat([torch.logsumexp(cv.log_prob(part.unsqueeze(1)) + log_weights, 1) for part in parts])


def _embedded(z: torch.Tensor, angular: bool) -> np.ndarray:
    """Values as points whose distance is theirs."""
    points = torch.cat([z.cos(), z.sin()], -1) if angular else z / z.std(0).clamp_min(1e-12)
    return points.double().cpu().numpy()


def _r_squared(values: np.ndarray, foretold: np.ndarray, weights: np.ndarray) -> float:
    spread = np.average(np.square(values - np.average(values, weights=weights)), weights=weights)
    left = np.average(np.square(values - foretold), weights=weights)
    return float(1.0 - left / spread) if spread > 0 else 0.0
