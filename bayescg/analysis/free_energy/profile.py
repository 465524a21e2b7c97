"""A free energy along collective variables: profile, differences and populations, all as draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from bayescg import units
from bayescg.analysis.block_bootstrap import refit_sources, sources, without_tails
from bayescg.analysis.free_energy.refits import apart_in_population, thin
from bayescg.analysis.free_energy.sparse import FEWEST
from bayescg.analysis.quantity import Quantity
from bayescg.analysis.resampled import OfPotentials, Resampled
from bayescg.data import effective_frames
from bayescg.draws import interval
from bayescg.errors import ConfigError, DataError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FreeEnergy", "mean_of_draws", "members_in_turn"]

Region = tuple[Any, Any]

_LARGEST_ANGLE = 2 * math.pi + 1e-6


@dataclass(frozen=True, repr=False)
class FreeEnergy:
    """Free energy along one or two CVs, as draws.

    Attributes
    ----------
    profile : DataArray, (draw, bin) or (draw, bin_x, bin_y)
        In kT; zero, in every draw, at the lowest bin of the mean: errors are those of the difference from there.
        Infinite where a draw of the CV puts no frame, NaN where none does.
    mean, sd : DataArray
        Of the finite draws, where they are at least half; NaN elsewhere.
    effective : DataArray, (bin) or (bin_x, bin_y)
        Effective number of frames; in a trajectory at most the number of visits.
    edges : tuple of ndarray
        Edges of the bins of each CV.
    names, cv_units : tuple of str
    periodic : tuple of bool
    level : float
        Of `band`.
    inefficiency : float
        Frames per independent draw of the CV.
    warnings : tuple of str
    doubt : str or None
        Why nothing made of these frames has an interval.
    """

    profile: xr.DataArray
    edges: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    cv_units: tuple[str, ...]
    periodic: tuple[bool, ...]
    level: float
    inefficiency: float
    warnings: tuple[str, ...]
    effective: xr.DataArray
    untold: np.ndarray
    remedy: str
    temperature: float | None
    values: np.ndarray
    drawing: Resampled
    run_starts: np.ndarray
    ordered: bool
    refits: int | None = None
    doubt: str | None = None

    @property
    def blocks(self) -> int:
        """Blocks of frames in the bootstrap."""
        return self.drawing.blocks

    @property
    def mean(self) -> xr.DataArray:
        """Mean over draws."""
        return self.profile.reduce(mean_of_draws, "draw")

    @property
    def sd(self) -> xr.DataArray:
        """Standard deviation over draws."""
        square = (self.profile - self.mean) ** 2
        return square.reduce(mean_of_draws, "draw") ** 0.5

    @property
    def band(self) -> xr.DataArray:
        """Lower and upper end of every bin's interval, ``(bound, bin)`` or ``(bound, bin_x, bin_y)``.

        The upper end is infinite where some draws put no frame. NaN in bins of fewer than ten effective frames, and
        where the weights are too uneven (Pareto k above 0.7): there is no telling then.
        """
        import xarray as xr

        huge = 1e9  # in place of inf, between which quantiles cannot be interpolated
        low_high = interval(np.where(np.isposinf(self.profile.values), huge, self.profile.values), self.level)
        low_high[low_high > 1e-3 * huge] = np.inf
        low_high[:, self.untold] = np.nan
        coords = {k: v for k, v in self.profile.coords.items() if k != "draw"}
        return xr.DataArray(
            low_high, dims=("bound", *self.profile.dims[1:]), coords={"bound": ["low", "high"], **coords}
        )

    def difference(self, a: Region, b: Region, unit: str = "kT") -> Quantity:
        r"""Free energy of region `b` minus that of region `a`, :math:`-\ln(P_b / P_a)`: what going from a to b costs.

        Parameters
        ----------
        a, b : (lo, hi), or ((lo, hi), (lo, hi)) for two CVs
            Half-open intervals in the CV, of an angle in radians; for a periodic one lo > hi goes around the end.
            Ends of others may be infinite.
        unit : {"kT", "kJ/mol", "kcal/mol", "hartree"}

        Returns
        -------
        Quantity
            `visits` says how often the trajectories entered `a` and `b` (for independent frames, how many are there).
            Below 10, or where weights leave fewer than 10 effective frames, there is a `warning` and no interval: too
            few to know. So there is where some refits without frames have lost a region.

        Raises
        ------
        ConfigError
            A region of the wrong shape, one of an angle beyond 2 pi, or an unknown unit.
        """
        inside = self._inside(a), self._inside(b)
        draws, points = self._log_ratio(*inside)
        factor = self._factor(unit)
        return self._quantity(lambda log: factor * log, draws, points, unit, (a, b), inside)

    def population(self, region: Region) -> Quantity:
        """Probability of a region; the interval stays within 0 and 1.

        Parameters
        ----------
        region : (lo, hi), or ((lo, hi), (lo, hi)) for two CVs
        """
        inside = self._inside(region)
        draws, points = self._log_ratio(inside, ~inside)
        return self._quantity(expit, draws, points, "", (region,), (inside,))

    def effective_outside(self, region: Region) -> float:
        """Effective number of frames outside a region: where they are few, nobody knows that its share is near 1.

        Parameters
        ----------
        region : (lo, hi), or ((lo, hi), (lo, hi)) for two CVs
        """
        return effective_frames(self.drawing.frame_weights * ~self._inside(region)[0])

    def from_degrees(self, bounds: Sequence[float]) -> tuple[float, float]:
        """A region's ends in the unit of the only CV: those of an angle are given in degrees."""
        low, high = map(math.radians, bounds) if self.cv_units == ("rad",) else bounds
        return low, high

    def to_dataset(self) -> xr.Dataset:
        """The draws of the profile, its mean, sd and band, with the rest as attributes."""
        data = self.profile.to_dataset(name="profile").assign(
            mean=self.mean, sd=self.sd, band=self.band, effective=self.effective
        )
        return data.assign_attrs(
            unit="kT",
            level=self.level,
            blocks=self.blocks,
            inefficiency=self.inefficiency,
            warnings=list(self.warnings),
        )

    def __repr__(self) -> str:
        shape = " x ".join(str(len(e) - 1) for e in self.edges)
        visited = float(np.isfinite(self.mean.values).mean())
        return (
            f"FreeEnergy({', '.join(self.names)}: {shape} bins, {visited:.0%} visited, {len(self.profile)} draws, "
            f"{self.blocks} blocks, g = {self.inefficiency:.1f} frames)"
        )

    def _factor(self, unit: str) -> float:
        if unit == "kT":
            return 1.0
        if unit not in units.ENERGY:
            raise ConfigError(f"unit={unit!r} is not known here; use one of kT, {', '.join(units.ENERGY)}")
        if self.temperature is None:
            raise DataError(f"{unit} needs the temperature of the frames in K: give temperature= where they are loaded")
        return units.kT(self.temperature) / units.ENERGY[unit]

    def _inside(self, region: Region) -> np.ndarray:
        """Whether each frame is in a region, (members, n)."""
        k = len(self.edges)
        try:
            bounds = np.asarray(region, dtype=np.float64).reshape(-1, 2) if np.size(region) == 2 * k else None
        except (TypeError, ValueError):
            bounds = None
        if bounds is None or np.isnan(bounds).any():
            raise ConfigError(
                f"a region of {k} CV(s) is {'(lo, hi)' if k == 1 else '((lo, hi), (lo, hi))'}, not {region!r}"
            )
        inside = np.ones(self.values.shape[:2], dtype=bool)
        for (lo, hi), v, circular, name in zip(
            bounds, np.moveaxis(self.values, 2, 0), self.periodic, self.names, strict=True
        ):
            if circular and max(abs(lo), abs(hi)) > _LARGEST_ANGLE:
                raise ConfigError(
                    f"the region ({lo:g}, {hi:g}) of {name} is in radians, from -pi to pi; for degrees give "
                    f"np.deg2rad(({lo:g}, {hi:g}))"
                )
            if not circular and lo >= hi:
                raise ConfigError(
                    f"the region ({lo:g}, {hi:g}) of {name} is empty: the first bound must be the lower one"
                )
            inside &= ((v >= lo) & (v < hi)) if lo < hi else ((v >= lo) | (v < hi))
        return inside

    def _log_ratio(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draws of ln P(a) - ln P(b), and its value over all frames for the draw of the CV that each has."""
        out, points = np.full((2, len(self.drawing.factors)), np.nan)
        for rows, m in members_in_turn(len(self.drawing.factors), len(self.values)):
            (in_a, a_drawn), (in_b, b_drawn) = (self.drawing.sums(i[m].astype(np.int64) - 1, 1, rows) for i in (a, b))
            with np.errstate(divide="ignore", invalid="ignore"):
                point = np.log(in_a[0]) - np.log(in_b[0])
                moves_to = (np.log(a_drawn) - np.log(b_drawn))[:, 0] - point
                out[rows] = point + self.drawing.factors[rows] * moves_to
            points[rows] = point
        return out, points

    def _quantity(
        self,
        of_log_ratio: Callable[[np.ndarray], np.ndarray],
        draws: np.ndarray,
        points: np.ndarray,
        unit: str,
        regions: Sequence[Region],
        inside: Sequence[np.ndarray],
    ) -> Quantity:
        visits = tuple(min(self._visits(row) for row in i) for i in inside)
        what = "was entered {} times" if self.ordered else "holds {} frames"
        few = [f"{self._named(r)} {what.format(v)}" for r, v in zip(regions, visits, strict=True) if v < FEWEST]
        warning = f"{' and '.join(few)}, fewer than {FEWEST}: {self.remedy}" if few else None
        if warning is None:
            warning = self._lost(regions, inside) or self._outweighed(regions, inside) or self.doubt
        if not np.isfinite(draws).all():
            draws, warning = np.full_like(draws, np.nan), warning or "some draws of the CV never visit it"
        narrow = of_log_ratio(without_tails(draws, points, self.drawing.factors))
        quantity = Quantity.of(of_log_ratio(draws), unit, warning, narrow, visits=visits)
        if not np.isfinite(quantity.sd):
            return quantity
        if self.refits is None and not isinstance(self.drawing, OfPotentials):
            parts: dict[str, float | None] = {
                k: float(v) for k, v in sources(narrow, of_log_ratio(points[: len(self.values)])).items()
            }
        else:
            weighed = [
                i[0] * self.drawing.frame_weights for i in (inside[0], inside[-1] if len(inside) > 1 else ~inside[0])
            ]
            influence = weighed[0] / weighed[0].mean() - weighed[1] / weighed[1].mean()
            if isinstance(self.drawing, OfPotentials):
                parts = self.drawing.sources(influence, quantity.sd)
            elif self.refits is not None:
                parts = refit_sources(influence, self.refits, quantity.sd)
        return replace(quantity, sd_by_source=parts)

    def _outweighed(self, regions: Sequence[Region], inside: Sequence[np.ndarray]) -> str | None:
        """What to say of regions whose frames are many and whose weights hang on few of them."""
        counts = [effective_frames(self.drawing.frame_weights * i[0]) for i in inside]
        few = [f"{self._named(r)} {n:.1f}" for r, n in zip(regions, counts, strict=True) if n < FEWEST]
        return f"effective frames in {' and '.join(few)}, fewer than {FEWEST}: {self.remedy}" if few else None

    def _lost(self, regions: Sequence[Region], inside: Sequence[np.ndarray]) -> str | None:
        """What to say of regions that some refits lost, or as good as."""
        if self.refits is None:
            return None
        words = {}
        for region, rows in zip(regions, inside, strict=True):
            of_draws = rows[0], self.drawing.frame_weights, self.drawing.block_of
            words[self._named(region)] = apart_in_population(*of_draws) or thin(*of_draws)
        return "; ".join(f"{region}: {text}" for region, text in words.items() if text) or None

    def _named(self, region: Region) -> str:
        ends = np.asarray(region, dtype=np.float64).reshape(-1, 2)
        return ", ".join(f"{lo:.3g} to {hi:.3g} {u}".rstrip() for (lo, hi), u in zip(ends, self.cv_units, strict=True))

    def _visits(self, inside: np.ndarray) -> int:
        if not self.ordered:
            return int(inside.sum())
        return int((inside[1:] & ~inside[:-1] & ~self.run_starts[1:]).sum())


def mean_of_draws(profile: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean of the finite draws, NaN where fewer than half of them are finite.

    Examples
    --------
    >>> mean_of_draws(np.array([[1.0, np.inf, np.inf], [3.0, 2.0, np.inf]])).tolist()
    [2.0, 2.0, nan]
    """
    finite = np.isfinite(profile)
    total = np.where(finite, profile, 0.0).sum(axis)
    return np.where(finite.mean(axis) >= 0.5, total / np.maximum(finite.sum(axis), 1), np.nan)


def members_in_turn(draws: int, members: int) -> Iterator[tuple[np.ndarray, int]]:
    """Each refit with the numbers of the draws that use it: refits are used in turn."""
    for m in np.arange(min(members, draws)):
        yield np.arange(m, draws, members), int(m)
