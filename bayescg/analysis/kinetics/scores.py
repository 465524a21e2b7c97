"""Held-out scores of slow modes: which functions, how many modes, which lag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg import nets
from bayescg.analysis.fit_checks import check_question
from bayescg.analysis.kinetics.covariances import Covariances, accumulate
from bayescg.analysis.kinetics.galerkin import reduced, solve
from bayescg.analysis.kinetics.spectrum import bases_of, blocks_of, diffusion_of
from bayescg.errors import ConfigError

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["SCORES", "KineticScore", "common_diffusion", "kinetic_scores"]

SCORES = ("vamp2", "vampe", "timescales")
_CHECKED = 100


@dataclass(frozen=True, repr=False)
class KineticScore:
    """Score of slow modes on blocks that they were not found on; higher is better.

    Attributes
    ----------
    folds : ndarray, (folds,)
        On each fold.
    in_sample : float
        On the frames themselves: too good.
    better_by : float
        Than the best of those compared, 0 for that one; else negative.
    better_se : float
        Its standard error: over the same folds, hence smaller than that of the scores.
    memory : float
        Statistical inefficiency of the slow modes, as a part of all frames; a fold should be several times longer.
    """

    folds: np.ndarray
    in_sample: float
    better_by: float = 0.0
    better_se: float = 0.0
    memory: float = 0.0

    @property
    def mean(self) -> float:
        """Over folds."""
        return float(self.folds.mean())

    @property
    def se(self) -> float:
        """Standard error of the mean over folds."""
        return _se(self.folds)

    def __repr__(self) -> str:
        return (
            f"KineticScore({self.mean:.4g} ± {self.se:.2g} held out, {self.in_sample:.4g} in sample; "
            f"{self.better_by:+.2g} ± {self.better_se:.2g} from the best)"
        )


def kinetic_scores(
    candidates: Mapping[str, Any],
    on: Frames,
    score: str = "vamp2",
    *,
    lag: float | None = None,
    diffusion: Any = None,
    modes: int = 3,
    folds: int = 10,
) -> dict[str, KineticScore]:
    r"""Score fits, or functions, by the slow modes that they hold, K-fold over contiguous blocks.

    In each fold the modes are found on all other blocks. With :math:`C_{00}, C_{0\tau}` the covariances of these on the
    block, :math:`\nu` their eigenvalues on the others, and A the Dirichlet form of the generator there:

    - ``"vamp2"``: :math:`1 + \|C_{00}^{-1/2} C_{0\tau} C_{00}^{-1/2}\|_F^2`;
    - ``"vampe"``: :math:`1 + \mathrm{tr}(2 \nu C_{0\tau} - \nu C_{00} \nu C_{00})`, an average over frames but for its
      last term, at most the same;
    - ``"timescales"``: :math:`\mathrm{tr}(2 C_{00} \Lambda^{-1} - \Lambda^{-1} A \Lambda^{-1})`, for the generator; at
      most the sum of the timescales.

    Parameters
    ----------
    candidates : mapping
        Names of fits, models or callables, as for :func:`spectrum`.
    on : Frames
        Ideally none that the functions were trained on.
    score : {"vamp2", "vampe", "timescales"}
    lag : float, optional
        One for all, as scores at different lags cannot be compared. Needed by the first two.
    diffusion : optional
        For ``"timescales"``, one for all; default: as for :func:`spectrum`, which must be the same for each.
    modes, folds : int

    Raises
    ------
    ConfigError
        An unknown score, a lag where there is to be none, or none where there must be one, or generators of different
        diffusion.

    References
    ----------
    McGibbon, Pande, J. Chem. Phys. 142, 124105 (2015), for the cross-validation; Wu, Noé, J. Nonlinear Sci. 30, 23
    (2020), arXiv:1707.04659, eqs. (22) and (33), for VAMP-2 and VAMP-E.

    Examples
    --------
    >>> import bayescg as bcg, torch
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic(), 1000, dt=0.01, chains=20, stride=10)
    >>> asked = {"x": lambda x: x, "x^3": lambda x: x**3}
    >>> found = kinetic_scores(asked, frames, "vamp2", lag=0.2, modes=1)
    >>> found["x"].mean > found["x^3"].mean, found["x"].better_by
    (True, 0.0)
    """
    if score not in SCORES:
        raise ConfigError(f"score={score!r} is not known; use one of {', '.join(SCORES)}")
    if (score == "timescales") != (lag is None):
        raise ConfigError(f"score={score!r} needs {'no lag' if score == 'timescales' else 'a lag'}, got lag={lag!r}")
    check_question(on, modes=(modes, 1), folds=(folds, 2))
    if not isinstance(candidates, Mapping) or not candidates:
        raise ConfigError('candidates must be a mapping of names to fits or functions: {"torsions": fit, ...}')
    given = None if lag is not None else common_diffusion(candidates, diffusion, on)
    found = {}
    for name, fit in candidates.items():
        bases, like, _ = bases_of(fit)
        cells = accumulate(bases[0], on, lag=lag, diffusion=given, like=like)
        parts = cells.merged(np.arange(len(cells)) * folds // len(cells))
        small = parts.projected(reduced(parts, modes))
        inside = np.eye(len(parts))
        all_of_them = np.ones((1, len(parts)))
        found[name] = KineticScore(
            _score(small, 1 - inside, inside, modes, score),
            float(_score(small, all_of_them, all_of_them, modes, score)[0]),
            memory=blocks_of(cells, modes, on.order is not None).inefficiency,
        )
    best = max(found.values(), key=lambda one: one.mean)
    return {
        name: replace(one, better_by=one.mean - best.mean, better_se=_se(one.folds - best.folds))
        for name, one in found.items()
    }


def common_diffusion(candidates: Mapping[str, Any], given: Any, on: Frames) -> Any:
    """The diffusion of the generator whose timescales are compared: as given, or that of all candidates.

    Raises
    ------
    ConfigError
        They differ: the timescales of two generators are not of the same thing.
    """
    each = {name: diffusion_of(given, None, bases_of(fit)[2], on) for name, fit in candidates.items()}
    first = next(iter(each))
    x = torch.as_tensor(on.gather(np.linspace(0, len(on) - 1, min(len(on), _CHECKED)).astype(np.int64))).double()
    tensor = torch.eye(x[0].numel(), dtype=x.dtype)
    values = {}
    for name, one in each.items():
        if one is not each[first]:
            for key in (first, name):
                value = nets.diffusion_value(each[key], x)
                whole = value.shape[-2:] == tensor.shape and value.dim() == 2 + callable(each[key])
                values[key] = (value if whole else value[..., None] * tensor).expand(len(x), *tensor.shape)
            if not torch.allclose(values[first], values[name], rtol=1e-5, atol=0.0):
                means = ", ".join(f"{k}: {float(values[k].diagonal(dim1=1, dim2=2).mean()):.4g}" for k in (first, name))
                raise ConfigError(
                    f"timescales of generators with different diffusion are not of the same thing (mean D of {means}); "
                    "give one diffusion= for all"
                )
    return each[first]


def _score(cov: Covariances, train: np.ndarray, test: np.ndarray, modes: int, score: str) -> np.ndarray:
    found = solve(cov, train, modes)
    a, b, mean = cov.mixed(test)
    apart = mean - found.mean
    b = b + apart[:, :, None] * apart[:, None, :]
    a, b = (found.vectors.mT @ m @ found.vectors for m in (a, b))
    trace = lambda m: np.trace(m, axis1=1, axis2=2)  # noqa: E731
    if score == "timescales":
        scale = 1 / found.values[:, :, None]
        return trace(2 * scale * b) - trace(scale * a * scale.mT)
    if score == "vampe":
        nu = 1 - found.values[:, :, None]
        return 1 + trace(2 * nu * (b - a)) - trace(nu * b @ (nu * b))
    k = np.linalg.solve(b, b - a)
    return 1 + trace(k @ k)


def _se(folds: np.ndarray) -> float:
    return float(folds.std(ddof=1) / np.sqrt(len(folds)))
