"""Free energies along collective variables, with error bars from blocks of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from bayescg import units
from bayescg.analysis import statistics
from bayescg.analysis.statistics import Quantity
from bayescg.draws import interval
from bayescg.errors import ConfigError, DataError

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.data import Frames
    from bayescg.inference import Fit

__all__ = ["FreeEnergy", "free_energy"]

FEWEST_VISITS = 10

Region = tuple[Any, Any]


@dataclass(frozen=True, repr=False)
class FreeEnergy:
    """Free energy along one or two CVs, as draws.

    Attributes
    ----------
    profile : DataArray, (draw, bin) or (draw, bin_x, bin_y)
        In kT; zero at the lowest bin of the mean. NaN where no frame was seen.
    mean, sd, band : DataArray
        Summaries of the draws; `band` has a leading dimension ``bound``. NaN where a draw has no frames.
    edges : tuple of ndarray
        Edges of the bins of each CV.
    names, cv_units : tuple of str
    periodic : tuple of bool
    level : float
        Of `band`.
    inefficiency : float
        Frames per independent draw of the CV.
    blocks : int
        Blocks of frames in the bootstrap.
    warnings : tuple of str
    """

    profile: xr.DataArray
    edges: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    cv_units: tuple[str, ...]
    periodic: tuple[bool, ...]
    level: float
    inefficiency: float
    warnings: tuple[str, ...]
    temperature: float | None
    values: np.ndarray
    frame_weights: np.ndarray
    block_of: np.ndarray
    weights: np.ndarray
    factors: np.ndarray
    run_starts: np.ndarray
    ordered: bool

    @property
    def blocks(self) -> int:
        """Blocks of frames in the bootstrap."""
        return self.weights.shape[1]

    @property
    def mean(self) -> xr.DataArray:
        """Mean over draws."""
        return self.profile.mean("draw", skipna=False)

    @property
    def sd(self) -> xr.DataArray:
        """Standard deviation over draws."""
        return self.profile.std("draw", ddof=1, skipna=False)

    @property
    def band(self) -> xr.DataArray:
        """Lower and upper end of the interval of every bin."""
        import xarray as xr

        low_high = interval(self.profile.values, self.level)
        coords = {k: v for k, v in self.profile.coords.items() if k != "draw"}
        return xr.DataArray(
            low_high, dims=("bound", *self.profile.dims[1:]), coords={"bound": ["low", "high"], **coords}
        )

    def difference(self, a: Region, b: Region, unit: str = "kT") -> Quantity:
        r"""Free energy of region `b` minus that of region `a`, :math:`-\ln(P_b / P_a)`: what going from a to b costs.

        Parameters
        ----------
        a, b : (lo, hi), or ((lo, hi), (lo, hi)) for two CVs
            Half-open intervals in the CV; for a periodic one lo > hi goes around the end.
        unit : {"kT", "kJ/mol"}

        Returns
        -------
        Quantity
            `visits` says how often the trajectories entered `a` and `b` (for independent frames, how many are there).
            Below 10 there is a `warning` and no interval: too few transitions to know.

        Raises
        ------
        ConfigError
            A region of the wrong shape, or an unknown unit.
        """
        inside = self._inside(a), self._inside(b)
        return self._quantity(self._factor(unit) * self._log_ratio(*inside), unit, (a, b), inside)

    def population(self, region: Region) -> Quantity:
        """Probability of a region; the interval stays within 0 and 1.

        Parameters
        ----------
        region : (lo, hi), or ((lo, hi), (lo, hi)) for two CVs
        """
        inside = self._inside(region)
        return self._quantity(expit(self._log_ratio(inside, ~inside)), "", (region,), (inside,))

    def to_dataset(self) -> xr.Dataset:
        """The draws of the profile, its mean, sd and band, with the rest as attributes."""
        data = self.profile.to_dataset(name="profile").assign(mean=self.mean, sd=self.sd, band=self.band)
        return data.assign_attrs(
            unit="kT",
            level=self.level,
            blocks=self.blocks,
            inefficiency=self.inefficiency,
            warnings=list(self.warnings),
        )

    def __repr__(self) -> str:
        shape = " x ".join(str(len(e) - 1) for e in self.edges)
        seen = float(np.isfinite(self.mean.values).mean())
        return (
            f"FreeEnergy({', '.join(self.names)}: {shape} bins, {seen:.0%} visited, {len(self.profile)} draws, "
            f"{self.blocks} blocks, g = {self.inefficiency:.1f} frames)"
        )

    def _factor(self, unit: str) -> float:
        if unit == "kT":
            return 1.0
        if unit != "kJ/mol":
            raise ConfigError(f"unit={unit!r} is not known here; use 'kT' or 'kJ/mol'")
        if self.temperature is None:
            raise DataError("kJ/mol needs the temperature of the frames in K: give temperature= where they are loaded")
        return units.kT(self.temperature)

    def _inside(self, region: Region) -> np.ndarray:
        """Whether each frame is in a region, (members, n)."""
        k = len(self.edges)
        bounds = np.asarray(region, dtype=np.float64).reshape(-1, 2) if np.size(region) == 2 * k else None
        if bounds is None or not np.isfinite(bounds).all():
            raise ConfigError(
                f"a region of {k} CV(s) is {'(lo, hi)' if k == 1 else '((lo, hi), (lo, hi))'}, not {region!r}"
            )
        inside = np.ones(self.values.shape[:2], dtype=bool)
        for (lo, hi), v, circular, name in zip(
            bounds, np.moveaxis(self.values, 2, 0), self.periodic, self.names, strict=True
        ):
            if not circular and lo >= hi:
                raise ConfigError(
                    f"the region ({lo:g}, {hi:g}) of {name} is empty: the first bound must be the lower one"
                )
            inside &= ((v >= lo) & (v < hi)) if lo < hi else ((v >= lo) | (v < hi))
        return inside

    def _log_ratio(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Draws of ln P(a) - ln P(b)."""
        out = np.full(len(self.factors), np.nan)
        for rows, inside_a, inside_b in self._members(a, b):
            sums = np.stack([_block_sums(self.block_of, w, self.blocks) for w in (inside_a, inside_b)], 1)
            with np.errstate(divide="ignore", invalid="ignore"):
                point = _log_ratio(sums.sum(0))
                out[rows] = point + self.factors[rows] * (_log_ratio(self.weights[rows] @ sums) - point)
        return out

    def _members(self, *inside: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        for rows, m in _members(len(self.factors), len(self.values)):
            yield rows, *(i[m] * self.frame_weights for i in inside)

    def _quantity(
        self, draws: np.ndarray, unit: str, regions: Sequence[Region], inside: Sequence[np.ndarray]
    ) -> Quantity:
        visits = tuple(min(self._visits(row) for row in i) for i in inside)
        few = [f"{r} {v} times" for r, v in zip(regions, visits, strict=True) if v < FEWEST_VISITS]
        what = "entered" if self.ordered else "holds frames"
        warning = f"{what} {' and '.join(few)}, fewer than {FEWEST_VISITS}: simulate longer" if few else None
        if not np.isfinite(draws).all():
            draws, warning = np.full_like(draws, np.nan), warning or "some draws of the CV never visit it"
        return Quantity.of(draws, unit, warning, visits=visits)

    def _visits(self, inside: np.ndarray) -> int:
        if not self.ordered:
            return int(inside.sum())
        return int((inside[1:] & ~inside[:-1] & ~self.run_starts[1:]).sum())


def free_energy(
    fit: Fit | None,
    frames: Frames,
    cv: Callable[..., Any] | str | Sequence[Any] | None = None,
    bins: int = 80,
    draws: int = 200,
    level: float = 0.9,
    seed: int = 0,
    range: Sequence[Any] | None = None,
    periodic: bool | Sequence[bool] | None = None,
) -> FreeEnergy:
    r"""Free energy :math:`F(s) = -kT \ln p(s)` along one or two CVs, with error bars.

    Draws are made by a Bayesian bootstrap over contiguous blocks of frames, at least five times as long as the CV's
    statistical inefficiency, times the draws of the CV itself where the fit has them (ensemble, bootstrap) and `cv` is
    the fit's own. Intervals of a plain block bootstrap are too narrow when there are few blocks; here each draw of a
    log probability is moved away from the estimate of all frames by a random factor
    :math:`\sqrt{(n+1)/\chi^2_{n-1}}`, n the number of blocks, which gives a Student t with n - 1 degrees of freedom.

    Parameters
    ----------
    fit : Fit or None
        Not needed where `cv` is given.
    frames : Frames
        Their weights are respected.
    cv : callable, name, or two of them; optional
        Maps positions to ``(n,)`` or ``(n, 2)``; a name of :mod:`bayescg.features.observables`; a pair such as
        ``("phi", "psi")``. None: the mean of the fit's CV.
    bins : int
        For each CV.
    draws : int
    level : float
        Of the band.
    seed : int
    range : (lo, hi), or two of them; optional
        Default: all values, or the full circle.
    periodic : bool, or two; optional
        Whether a CV is an angle in radians; default: where its unit is ``"rad"``.

    Returns
    -------
    FreeEnergy

    Raises
    ------
    ConfigError
        A range or a number of bins that makes no sense; neither `fit` nor `cv`.
    DataError
        Values that are not finite or of the wrong shape, or too few frames.

    References
    ----------
    Rubin, "The Bayesian bootstrap", Ann. Statist. 9, 130 (1981); Künsch, "The jackknife and the bootstrap for general
    stationary observations", Ann. Statist. 17, 1217 (1989).

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> x = np.random.default_rng(0).normal(size=(4000, 1))
    >>> fes = free_energy(None, Frames.from_numpy(x, unit="reduced", temperature_kT=1.0), cv=lambda x: x[:, 0], bins=20)
    >>> fes.profile.dims, fes.profile.shape
    (('draw', 'bin'), (200, 20))
    >>> low, high = fes.difference((-3, 0), (0, 3)).ci90
    >>> low < 0 < high
    True
    """
    import xarray as xr

    values, names, cv_units = _values(fit, frames, cv)
    k = values.shape[2]
    circular = tuple(np.broadcast_to([u == "rad" for u in cv_units] if periodic is None else periodic, k).tolist())
    edges = _edges(values, bins, range, circular)
    values = np.where(circular, statistics.wrap(values), values)
    g = statistics.inefficiency(values.mean(0), frames, circular)
    ids = statistics.block_ids(frames, g)
    weights = statistics.block_draws(ids, draws, seed)
    count = weights.shape[1]
    factors = statistics.inflation(count, draws, seed)
    w = (
        np.ones(len(frames))
        if frames.weights is None
        else np.asarray(frames.weights, np.float64) / np.mean(frames.weights)
    )
    total = _block_sums(ids, w, count)
    cells = (bins,) * k
    log_p = np.full((draws, bins**k), np.nan)
    for rows, m in _members(draws, len(values)):
        cell, within = _cells(values[m], edges)
        hist = np.bincount(ids[within] * bins**k + cell[within], w[within], minlength=count * bins**k).reshape(
            count, -1
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            point = np.log(hist.sum(0) / total.sum())
            drawn = np.log(weights[rows] @ hist) - np.log(weights[rows] @ total)[:, None]
            log_p[rows] = point + factors[rows, None] * (drawn - point)
    log_p[~np.isfinite(log_p)] = np.nan
    mean = log_p.mean(0)
    if not np.isfinite(mean).any():
        raise DataError("no bin is visited in every draw: use fewer bins, or a range= that holds the frames")
    profile = np.nanmax(mean) - log_p
    dims = ("bin",) if k == 1 else ("bin_x", "bin_y")
    centres = {d: (e[1:] + e[:-1]) / 2 for d, e in zip(dims, edges, strict=True)}
    array = xr.DataArray(
        profile.reshape(draws, *cells),
        dims=("draw", *dims),
        coords={"draw": np.arange(draws), **centres},
        name="free_energy",
        attrs={"unit": "kT"},
    )
    runs = np.r_[True, np.diff(frames.trajectory) != 0]
    if frames.order is not None:
        runs[1:] |= np.diff(frames.order) != 1
    warnings = ()
    shortest = int(np.bincount(ids).min())
    if frames.order is not None and shortest < 5 * g:
        warnings = (
            f"the CV stays correlated for g = {g:.0f} frames and blocks hold {shortest}: the error bars are too small",
        )
    return FreeEnergy(
        profile=array,
        edges=edges,
        names=names,
        cv_units=cv_units,
        periodic=circular,
        level=level,
        inefficiency=g,
        warnings=warnings,
        temperature=frames.temperature,
        values=values,
        frame_weights=w,
        block_of=ids,
        weights=weights,
        factors=factors,
        run_starts=runs,
        ordered=frames.order is not None,
    )


def _values(fit: Fit | None, frames: Frames, cv: Any) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Values (members, n, k) with their names and units."""
    if cv is None:
        if fit is None:
            raise ConfigError("free_energy needs a fit, or cv=")
        values = np.moveaxis(statistics.evaluate(lambda x: fit.cv_draws(x).movedim(0, 1), frames), 1, 0)
        k = values.shape[2]
        names, cv_units = tuple(f"CV {i + 1}" if k > 1 else "CV" for i in np.arange(k)), ("",) * k
    else:
        chosen = list(cv) if isinstance(cv, list | tuple) else [cv]
        parts = statistics.named_observables(chosen, fit, frames)
        columns = [statistics.evaluate(p, frames) for p in parts]
        values = np.concatenate([c.reshape(len(frames), -1) for c in columns], 1)[None]
        sizes = [c.reshape(len(frames), -1).shape[1] for c in columns]
        names = tuple(
            f"{statistics.label(p)}{f' {i + 1}' if s > 1 else ''}"
            for p, s in zip(parts, sizes, strict=True)
            for i in np.arange(s)
        )
        cv_units = tuple(statistics.unit_of(p) for p, s in zip(parts, sizes, strict=True) for _ in np.arange(s))
    if values.shape[2] not in (1, 2):
        raise DataError(f"a free energy is drawn over one or two CVs, not {values.shape[2]}; choose with cv=")
    return values, names, cv_units


def _edges(values: np.ndarray, bins: int, limits: Any, circular: Sequence[bool]) -> tuple[np.ndarray, ...]:
    if bins < 2:
        raise ConfigError(f"bins={bins!r}: at least two are needed")
    k = values.shape[2]
    if limits is None:
        low, high = values.min((0, 1)), values.max((0, 1))
        pad = 1e-6 * (high - low) + 1e-12
        pairs = [(-np.pi, np.pi) if c else (lo, hi + p) for c, lo, hi, p in zip(circular, low, high, pad, strict=True)]
    else:
        if np.size(limits) != 2 * k:
            raise ConfigError(f"range= needs (lo, hi) for each of the {k} CV(s), not {limits!r}")
        pairs = np.asarray(limits, dtype=np.float64).reshape(k, 2).tolist()
    if any(not lo < hi for lo, hi in pairs):
        raise ConfigError(f"range={limits!r}: each lower bound must lie below its upper bound")
    return tuple(np.linspace(lo, hi, bins + 1) for lo, hi in pairs)


def _cells(values: np.ndarray, edges: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Number of each frame's bin (n,), and whether it is in one."""
    cell, within = np.zeros(len(values), dtype=np.int64), np.ones(len(values), dtype=bool)
    for v, e in zip(values.T, edges, strict=True):
        index = np.searchsorted(e, v, side="right") - 1
        within &= (index >= 0) & (index < len(e) - 1)
        cell = cell * (len(e) - 1) + index
    return cell, within


def _block_sums(ids: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(ids, values, minlength=count)


def _log_ratio(sums: np.ndarray) -> np.ndarray:
    return np.log(sums[..., 0]) - np.log(sums[..., 1])


def _members(draws: int, members: int) -> Iterator[tuple[np.ndarray, int]]:
    for m in np.arange(min(members, draws)):
        yield np.arange(m, draws, members), int(m)
