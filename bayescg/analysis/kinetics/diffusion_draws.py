"""Effective dynamics of a collective variable as draws: free energy, diffusion, timescales, passages, committors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from scipy.special import expit

from bayescg.analysis.fit_checks import check_fit
from bayescg.analysis.quantity import Quantity, rounded
from bayescg.arguments import check_counts
from bayescg.errors import ConfigError, ModelError
from bayescg.recording.functional import call_with

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.inference import Fit

__all__ = ["DiffusionDraws", "Flatness", "effective_dynamics", "flat_from"]

_NARROWED = 0.5
_TOLD = 0.3
_VAGUE, _MOST_VAGUE = 0.5, 0.1
_RARE = 0.01
_LARGEST = 2.6
_LARGEST_OF_MANY = 3.5
_STEP = 0.02


@dataclass(frozen=True, repr=False)
class DiffusionDraws:
    """Draws of the free energy along a variable and of its diffusion, and what follows from them.

    Attributes
    ----------
    free_energy : DataArray, (draw, z)
        F in kT; zero, in every draw, at the lowest cell of the mean.
    diffusion : DataArray, (draw, border)
        D between neighbouring cells; in the unit of the variable squared over that of time.
    told : DataArray, (border,)
        Whether the data say D there within 0.3 of its logarithm, and have at least halved the spread that the prior
        gives it; elsewhere D is what the prior makes of its surroundings, as where all is forgotten within the lag.
    eigenvalues : DataArray, (draw, mode)
        Rates of the slowest modes.
    trained : (ndarray, ndarray)
        F in the cells and D at the borders, at the trained values.
    linear : bool
        Whether draws are of a Gaussian around these. What is not linear in F and log D, such as the log of a timescale,
        is then linearised: far out, fine wiggles of F would slow it down that the data do exclude.
    lag : float
        Of the pairs that it was learned from.
    periodic : bool
    unit : str
        Of time.
    doubt : str or None
        Why nothing has an interval.
    """

    free_energy: xr.DataArray
    diffusion: xr.DataArray
    told: xr.DataArray
    eigenvalues: xr.DataArray
    trained: tuple[np.ndarray, np.ndarray]
    linear: bool
    lag: float
    periodic: bool = False
    unit: str = ""
    doubt: str | None = None

    @property
    def timescales(self) -> xr.DataArray:
        """1 / eigenvalue, (draw, mode)."""
        return (1.0 / self.eigenvalues).rename("timescale")

    @property
    def quantities(self) -> dict[str, Quantity]:
        """``timescale_1``, ``timescale_2``, ..., and ``mean_diffusion``, the geometric one at equilibrium.

        The latter has no interval where a tenth of the probability is where log D is not known within a half.
        """
        modes = self.timescales["mode"].values
        quantities = {f"timescale_{k}": self._quantity(self.timescales.sel(mode=k).values, self.unit) for k in modes}
        diffusion, spread = self._mean_diffusion(), np.log(self.diffusion.values).std(0)
        vague = float(self._at_borders(self.trained[0])[spread > _VAGUE].sum())
        if vague > _MOST_VAGUE:
            doubt = f"within a lag of {self.lag:g} too much is forgotten to tell D where {vague:.0%} of all frames are"
            return quantities | {"mean_diffusion": replace(self, doubt=doubt)._quantity(diffusion, "")}
        return quantities | {"mean_diffusion": self._quantity(diffusion, "")}

    def population(self, region: tuple[float, float]) -> Quantity:
        """Probability of the variable between two values."""
        inside = self._inside(region)

        def log_odds(energy: np.ndarray, diffusion: np.ndarray) -> Any:
            p = np.exp(energy.min() - energy)
            return np.log(p[inside].sum() / p[~inside].sum())

        return self._quantity(expit(self._draws(log_odds)), "")

    def passage_time(self, start: tuple[float, float], target: tuple[float, float]) -> Quantity:
        """Mean first passage time to a region, from the equilibrium within another, both of whole cells.

        Raises
        ------
        ConfigError
            No cell lies in a region, or they overlap.
        """
        begin, end = self._regions(start, target)

        def log_time(energy: np.ndarray, diffusion: np.ndarray) -> Any:
            p = np.exp(energy.min() - energy) * begin
            return np.log(p @ _solved(_rates(energy, diffusion, self._width), ~end, np.ones(len(end))) / p.sum())

        return self._quantity(np.exp(self._draws(log_time)), self.unit)

    def committor(self, a: tuple[float, float], b: tuple[float, float]) -> xr.DataArray:
        """Probability to reach region `b` before region `a`, both of whole cells, (draw, z).

        Raises
        ------
        ConfigError
            No cell lies in a region, or they overlap.
        """
        in_a, in_b = self._regions(a, b)

        def probability(energy: np.ndarray, diffusion: np.ndarray) -> Any:
            rates = _rates(energy, diffusion, self._width)
            return _solved(rates, ~(in_a | in_b), rates @ in_b) + in_b

        return self.free_energy.copy(data=self._draws(probability).clip(0.0, 1.0)).rename("committor")

    def __repr__(self) -> str:
        quantities = [q for name, q in self.quantities.items() if name.startswith("timescale")]
        timescales = ", ".join(f"{rounded(q.mean, q.sd)} ± {q.sd:.2g}" for q in quantities)
        unit = f" {self.unit}" if self.unit else ""
        draws, cells = self.free_energy.shape
        return f"DiffusionDraws(lag {self.lag:g}: timescales {timescales}{unit}; {cells} cells, {draws} draws)"

    def _quantity(self, draws: np.ndarray, unit: str) -> Quantity:
        quantity = Quantity.of(draws, unit, self.doubt)
        return replace(quantity, sd_by_source={"sampling": quantity.sd})

    @property
    def _width(self) -> float:
        return float(np.diff(self.free_energy["z"].values[:2])[0])

    def _draws(self, function: Callable[[np.ndarray, np.ndarray], Any]) -> np.ndarray:
        """Of a function of F and D, (draw, ...)."""
        return _drawn(function, self.free_energy.values, self.diffusion.values, self.trained if self.linear else None)

    def _mean_diffusion(self) -> np.ndarray:
        """Geometric mean of D at borders, by their probability, (draw,)."""
        return np.exp(self._draws(lambda energy, diffusion: self._at_borders(energy) @ np.log(diffusion)))

    def _at_borders(self, energy: np.ndarray) -> np.ndarray:
        """Probability around each border, of a free energy."""
        p = np.exp(energy.min() - energy)
        at = (p + np.roll(p, -1))[: self.told.size]
        return at / at.sum()

    def _inside(self, region: tuple[float, float]) -> np.ndarray:
        z = self.free_energy["z"].values
        low, high = region
        inside = (z >= low) & (z < high) if low < high or not self.periodic else (z >= low) | (z < high)
        if not inside.any():
            raise ConfigError(f"no cell lies between {low:g} and {high:g}: cells are from {z[0]:.3g} to {z[-1]:.3g}")
        return inside

    def _regions(self, a: tuple[float, float], b: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        inside = self._inside(a), self._inside(b)
        if (inside[0] & inside[1]).any():
            raise ConfigError(f"the regions {a} and {b} overlap")
        return inside


def effective_dynamics(fit: Fit, draws: int = 200, modes: int = 3, seed: int = 0) -> DiffusionDraws:
    """Free energy, diffusion and timescales of a fitted :class:`bayescg.models.EffectiveDynamics`, as draws.

    Parameters
    ----------
    fit : Fit
    draws, modes, seed : int

    Raises
    ------
    ModelError
        The fit is of another model, or has no parameter uncertainty.

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import EffectiveDynamics
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic(), 2000, dt=0.01, chains=20, stride=20)
    >>> fit = bcg.fit(EffectiveDynamics(knots=8), frames.lagged(0.2), progress=False)
    >>> found = effective_dynamics(fit, modes=2)
    >>> bool((abs(found.timescales.mean("draw").values - [1.0, 0.5]) < 0.2).all())  # of a spring: 1, 1/2, ...
    True
    """
    import xarray as xr

    check_fit(fit)
    check_counts(draws=(draws, 2), modes=(modes, 1))
    model: Any = fit.model
    if not callable(getattr(model, "profiles", None)):
        raise ModelError(f"{type(model).__name__} is no effective dynamics of one variable")
    varying = fit.parameters(draws, seed)
    if not varying:
        raise ModelError("this fit has no parameter uncertainty: fit it with uncertainty='laplace' or 'bootstrap'")
    with torch.no_grad():
        each = [
            call_with(model, {**fit.weights.point, **{k: v[i] for k, v in varying.items()}}, lambda m: m.profiles())
            for i in range(draws)
        ]
        spread = torch.stack([log_d for _, log_d in each]).std(0)
        sure = (spread < _TOLD) & (spread < _NARROWED * model.prior_spread())
    energies, diffusions = (np.stack([np.asarray(e[part].cpu()) for e in each]) for part in (0, 1))
    energies -= energies[:, [int(energies.mean(0).argmin())]]
    diffusions, width = np.exp(diffusions), model.grid.width
    z = model.low + width * (np.arange(model.cells) + 0.5)
    border = model.low + width * np.arange(1, diffusions.shape[1] + 1)
    with torch.no_grad():
        trained = tuple(np.asarray(part.cpu()) for part in model.profiles())
    trained, linear = (trained[0], np.exp(trained[1])), fit.weights.kind in ("laplace", "mean-field")
    log_rates = lambda f, d: np.log(_slowest(f, d, width, modes))  # noqa: E731
    rates = np.exp(_drawn(log_rates, energies, diffusions, trained if linear else None))
    draw = np.arange(draws)
    return DiffusionDraws(
        free_energy=xr.DataArray(energies, {"draw": draw, "z": z}, ("draw", "z"), attrs={"unit": "kT"}),
        diffusion=xr.DataArray(diffusions, {"draw": draw, "border": border}, ("draw", "border")),
        told=xr.DataArray(np.asarray(sure.cpu()), {"border": border}, ("border",)),
        eigenvalues=xr.DataArray(rates, {"draw": draw, "mode": np.arange(1, modes + 1)}, ("draw", "mode")),
        trained=trained,
        linear=linear,
        lag=model.lag,
        periodic=model.periodic,
        unit="ps" if model.temperature is not None else "",
    )


@dataclass(frozen=True)
class Flatness:
    """From which lag on an effective dynamics no longer changes.

    Attributes
    ----------
    lag : float or None
        The shortest of those from which all agree; None: none but the last two or fewer.
    largest : dict of float to float
        Of each lag, the largest difference from longer ones, in units of what is allowed.
    """

    lag: float | None
    largest: dict[float, float]


def flat_from(found: Sequence[DiffusionDraws]) -> Flatness:
    r"""From which of several lags on nothing changes: the slowest timescale, the mean of D, and F.

    The projection of dynamics on one variable is not Markov at short lags. Where it is, a longer lag wastes data, and
    the variance of a difference is that of the estimate at the longer lag less that at the shorter one. Differences are
    compared with its root: above 2.6 for the two numbers, 3.5 for F wherever a cell has a hundredth of the largest
    probability, the lags do not agree.

    Parameters
    ----------
    found : sequence of DiffusionDraws
        Of three lags or more.

    Raises
    ------
    ConfigError
        There are fewer.

    References
    ----------
    Hausman, "Specification tests in econometrics", Econometrica 46, 1251 (1978), for the variance.
    """
    ordered = sorted(found, key=lambda each: each.lag)
    if len(ordered) < 3:
        raise ConfigError(f"{len(ordered)} lags: whether anything changes takes three or more")
    largest = {
        short.lag: max((_apart(short, long) for long in ordered[i + 1 :]), default=0.0)
        for i, short in enumerate(ordered)
    }
    agree = [lag for lag in list(largest)[:-2] if all(size <= 1 for at, size in largest.items() if at >= lag)]
    return Flatness(min(agree, default=None), largest)


def _apart(short: DiffusionDraws, long: DiffusionDraws) -> float:
    """Largest difference of two lags, as a part of what is allowed."""
    numbers = [
        _in_deviations(np.log(near), np.log(far))
        for near, far in (
            (short.eigenvalues.values[:, 0], long.eigenvalues.values[:, 0]),
            (short._mean_diffusion(), long._mean_diffusion()),
        )
    ]
    at = short.free_energy["z"].values
    again = np.stack([np.interp(at, long.free_energy["z"].values, f) for f in long.free_energy.values])
    energies = [f - f.mean(1, keepdims=True) for f in (short.free_energy.values, again)]
    often = np.exp(-short.free_energy.values.mean(0)) > _RARE
    profile = _in_deviations(*(f[:, often] for f in energies))
    return max(float(np.max(numbers)) / _LARGEST, float(profile.max()) / _LARGEST_OF_MANY)


def _in_deviations(short: np.ndarray, long: np.ndarray) -> np.ndarray:
    """Difference of means over draws, in standard deviations of what a longer lag wastes."""
    spread = np.maximum(long.var(0) - short.var(0), 0.25 * long.var(0))
    return np.abs(long.mean(0) - short.mean(0)) / np.sqrt(spread)


def _drawn(
    function: Callable[[np.ndarray, np.ndarray], Any],
    energies: np.ndarray,
    diffusions: np.ndarray,
    around: tuple[np.ndarray, np.ndarray] | None,
) -> np.ndarray:
    """Of a function of F and D for draws of both (draws, ...); linearised where it is told around what."""
    if around is None:
        return np.array([function(f, d) for f, d in zip(energies, diffusions, strict=True)])
    energy, diffusion = around
    moves = zip(energies - energy, np.log(diffusions / diffusion), strict=True)
    ends = [
        [function(energy + side * _STEP * f, diffusion * np.exp(side * _STEP * d)) for side in (-1, 1)]
        for f, d in moves
    ]
    below, above = np.moveaxis(np.array(ends), 1, 0)
    return function(energy, diffusion) + (above - below) / (2 * _STEP)


def _rates(energy: np.ndarray, diffusion: np.ndarray, width: float) -> np.ndarray:
    """Of one draw, a matrix of rates (cells, cells) whose rows add up to zero."""
    n = len(energy)
    i = np.arange(len(diffusion))
    j = (i + 1) % n
    half = 0.5 * (energy[j] - energy[i])
    q = np.zeros((n, n))
    q[i, j], q[j, i] = diffusion / width**2 * np.exp(-half), diffusion / width**2 * np.exp(half)
    return q - np.diag(q.sum(1))


def _slowest(energy: np.ndarray, diffusion: np.ndarray, width: float, modes: int) -> np.ndarray:
    """Eigenvalues (modes,) of minus the rates, without the zero."""
    q = _rates(energy, diffusion, width)
    if len(diffusion) < len(energy):
        beside = -diffusion / width**2
        return eigh_tridiagonal(-np.diag(q), beside, select="i", select_range=(1, modes))[0]
    root = np.exp(-0.5 * energy)
    return np.linalg.eigvalsh(-(root[:, None] * q / root))[1 : modes + 1]


def _solved(rates: np.ndarray, free: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Solution (cells,) of -rates u = source where it is free, and zero elsewhere."""
    u = np.zeros(len(free))
    u[free] = np.linalg.solve(-rates[np.ix_(free, free)], source[free])
    return u
