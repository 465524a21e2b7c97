"""Do the slow modes of one lag say what happens at longer ones: timescales against lag, and Chapman and Kolmogorov."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.analysis.block_bootstrap import bootstrap
from bayescg.analysis.fit_checks import check_question
from bayescg.analysis.kinetics.balanced import covariances_of
from bayescg.analysis.kinetics.blocks import blocks_of
from bayescg.analysis.kinetics.galerkin import reduced, solve
from bayescg.analysis.kinetics.modes import SlowModes
from bayescg.analysis.kinetics.spectrum import bases_of, spectrum
from bayescg.arguments import check_counts, check_positive
from bayescg.draws import interval
from bayescg.errors import ConfigError

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.data import Frames

__all__ = ["ChapmanKolmogorov", "against_lag", "chapman_kolmogorov", "implied_timescales"]


def implied_timescales(
    fit: Any, frames: Frames, lags: Sequence[float], *, modes: int = 3, draws: int = 200, seed: int = 0
) -> xr.DataArray:
    """Draws of implied timescales for each of several lags, (lag, draw, mode): flat where the modes are resolved.

    Where a mode has no interval, as where its correlation after a lag cannot be told from noise, draws are NaN, and the
    attribute ``refused`` says why, a sentence for each lag and mode.

    Parameters
    ----------
    fit : Fit, Model or callable
        As for :func:`spectrum`.
    frames : Frames
    lags : sequence of float
        In ps, or the unit of a toy system.
    modes, draws, seed : int

    Raises
    ------
    ConfigError
        There is no lag, or one is not positive.
    DataError
        As :func:`spectrum`.

    Examples
    --------
    >>> import bayescg as bcg, torch
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic(), 1000, dt=0.01, chains=20, stride=10)
    >>> found = implied_timescales(lambda x: torch.cat([x, x**2], 1), frames, [0.1, 0.2], modes=1)
    >>> found.dims, bool((abs(found.mean("draw") - 1) < 0.3).all())
    (('lag', 'draw', 'mode'), True)
    """
    if not isinstance(lags, Sequence | np.ndarray) or not len(lags):
        raise ConfigError(f"lags={lags!r} must be a sequence of at least one lag time")
    check_positive(**{f"lags[{i}]": t for i, t in enumerate(lags)})  # 0 would be the generator
    return against_lag([spectrum(fit, frames, lag=t, modes=modes, draws=draws, seed=seed) for t in lags])


def against_lag(found: Sequence[SlowModes]) -> xr.DataArray:
    """Draws of the timescales of several lags, (lag, draw, mode), NaN for modes without an interval; and why."""
    import xarray as xr

    each = [modes.timescales.where(~modes.timescales["mode"].isin(list(modes.refused))) for modes in found]
    lags = xr.DataArray([modes.lag for modes in found], dims="lag", name="lag")
    why = [f"no timescale at lag {modes.lag:g}: {text}" for modes in found for text in modes.refused.values()]
    return xr.concat(each, dim=lags).assign_attrs(unit=found[0].unit, refused=list(dict.fromkeys(why)))


@dataclass(frozen=True)
class ChapmanKolmogorov:
    r"""Correlations of the slow modes of a lag :math:`\tau`, predicted for :math:`n\tau` and measured there.

    Attributes
    ----------
    predicted, measured : DataArray, (draw, lag, from, to)
        n-th powers of the matrix at :math:`\tau`, and the matrix at :math:`n\tau`; its diagonal begins at 1 for lag 0.
        The attribute ``unit`` is that of the lags.
    """

    predicted: xr.DataArray
    measured: xr.DataArray

    @property
    def difference(self) -> xr.DataArray:
        """Measured minus predicted, (draw, lag, from, to): both are of the same draws of the frames."""
        return self.measured - self.predicted

    @property
    def outside(self) -> xr.DataArray:
        """Where the 90 % interval of the difference leaves out zero, (lag, from, to); a tenth of them by chance."""
        low, high = interval(self.difference.values, 0.9)
        slack = 1e-12  # at the first lag the two are the same
        return self.difference.isel(draw=0, drop=True).copy(data=(low > slack) | (high < -slack))


def chapman_kolmogorov(
    fit: Any,
    frames: Frames,
    lag: float | None = None,
    *,
    multiples: Sequence[int] = (1, 2, 3, 4, 5),
    modes: int = 3,
    draws: int = 200,
    seed: int = 0,
) -> ChapmanKolmogorov:
    r"""Chapman-Kolmogorov test of the slow modes, with bands.

    With the eigenfunctions at :math:`\tau` as observables, the matrix of their correlations at :math:`n\tau` should be
    the n-th power of that at :math:`\tau`, if they and the constant span the slow dynamics. Bands are those of a
    bootstrap over blocks, less the bias that a jackknife over them tells.

    Parameters
    ----------
    fit : Fit, Model or callable
        As for :func:`spectrum`; of several refits the first.
    frames : Frames
    lag : float, optional
        :math:`\tau`; default: that of the fit's model.
    multiples : sequence of int
        n, ascending.
    modes, draws, seed : int

    Raises
    ------
    ConfigError
        No lag, or multiples that do not ascend from 1.

    References
    ----------
    Prinz et al., "Markov models of molecular kinetics", J. Chem. Phys. 134, 174105 (2011), section IV.F.

    Examples
    --------
    >>> import bayescg as bcg, torch
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic(), 1000, dt=0.01, chains=20, stride=10)
    >>> test = chapman_kolmogorov(lambda x: torch.cat([x, x**2], 1), frames, 0.1, modes=2)
    >>> test.predicted.dims, test.outside.shape
    (('draw', 'lag', 'from', 'to'), (5, 2, 2))
    """
    import xarray as xr

    check_question(frames, modes=(modes, 1), draws=(draws, 2), seed=(seed, 0))
    bases, like, model = bases_of(fit)
    lag = lag or getattr(model, "lag", None)
    multiples = list(multiples) if isinstance(multiples, Sequence | np.ndarray) else [multiples]
    check_counts(**{f"multiples[{i}]": (n, 1) for i, n in enumerate(multiples)})
    if lag is None or not multiples or list(multiples) != sorted(set(multiples)) or multiples[0] != 1:
        raise ConfigError(f"lag={lag!r}, multiples={multiples!r}: a lag is needed, and multiples that ascend from 1")
    reach = lag * multiples[-1]
    cells = [covariances_of(bases[0], frames, lag=n * lag, reach=reach, like=like) for n in multiples]
    ids = blocks_of(cells[0], modes, frames.order is not None).ids
    first = cells[0].merged(ids)
    p, even = reduced(first.fixed, modes), np.ones((1, len(first)))
    weights, factors = bootstrap(ids, draws, seed)
    functions = p @ solve(first.projected(p), even, modes).vectors[0]
    small = [cov.merged(ids).projected(functions) for cov in cells]
    n = len(first)
    points, left, draws_of = ([_correlations(cov.mixed(w)) for cov in small] for w in (even, 1 - np.eye(n), weights))
    power = lambda m: [np.linalg.matrix_power(m[0], n) for n in multiples]  # noqa: E731
    out = []
    for parts in (map(power, (points, left, draws_of)), (points, left, draws_of)):
        point, without, resampled = (np.stack(part, 1) for part in parts)
        bias = (n - 1) * (without.mean(0) - point)  # a variance around an estimated mean is too small
        out.append(point - bias + factors[:, None, None, None] * (resampled - point))
    mode = np.arange(1, modes + 1)
    coords = {"draw": np.arange(draws), "lag": lag * np.asarray(multiples), "from": mode, "to": mode}
    unit = {"unit": "ps" if frames.unit == "nm" else ""}
    arrays = [xr.DataArray(v, dims=("draw", "lag", "from", "to"), coords=coords, attrs=unit) for v in out]
    return ChapmanKolmogorov(*arrays)


def _correlations(forms: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Symmetric correlation matrices (draws, k, k) from Dirichlet forms and covariances."""
    a, b, _ = forms
    values, vectors = np.linalg.eigh(b)
    root = (vectors / np.sqrt(values)[:, None, :]) @ vectors.mT
    return root @ (b - a) @ root
