"""Frames reweighted to measured averages: a posterior over what the force field gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from bayescg.analysis.binning import circular_of, cv_values, edges_of, in_cells
from bayescg.analysis.block_bootstrap import in_time, inefficiency, on_the_line, weights_of
from bayescg.analysis.evaluation import wrap
from bayescg.analysis.experimental.elliptical_slice import elliptical_slice
from bayescg.analysis.experimental.ensemble import Averages, Ensemble, Measured, quantity
from bayescg.analysis.experimental.force_field_error import ForceFieldError
from bayescg.analysis.experimental.measurements import Group, Measurements, measurements
from bayescg.analysis.fit_checks import check_landscape
from bayescg.analysis.resampled import average, resampled
from bayescg.data import effective_frames
from bayescg.errors import ConfigError

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["experiments"]

_BINS = {1: 36, 2: 24}
_SCALE = 0.5  # of the logarithm of an unknown factor
_FEWEST = 0.05
_FEWEST_FRAMES = 10
_FAR = 3.0
_REMEMBERED = 0.2
_MOST = 1e6


def experiments(
    frames: Frames,
    data: Mapping[str, Sequence[float]],
    forward: Any,
    cv: Callable[..., Any] | str | Sequence[Any],
    periodic: bool | Sequence[bool] | None = None,
    bins: int | None = None,
    scale: bool = False,
    offset: bool = False,
    draws: int = 400,
    steps: int = 400,
    seed: int = 0,
) -> Ensemble:
    r"""Ensemble that simulation and measured averages agree on, and how sure it is.

    The force field's free energy is off by g(s), a function of one or two CVs with a Gaussian process prior
    (``bayescg.analysis.experimental.force_field_error``), so that frames weigh
    :math:`w_n \propto w^0_n e^{-g(s_n)}`, and data d are

    .. math:: d_k \sim N(a\, f_k(\langle O_k \rangle_w) + b, \sigma_k^2 + \tau^2), \qquad \tau \sim HC(\tau_0)

    with f what an experiment sees of an average, :math:`\sigma_k` the datum's standard deviation and
    :math:`\tau` the unknown error of the forward model, one for each, half-Cauchy on the scale of the error it states
    (of your own numbers 0: their error belongs into the datum's).
    Each draw is the end of a chain of elliptical slice sampling of its own, with weights :math:`w^0` of a bootstrap
    over blocks of the simulation (or its trajectories, windows or Koopman weights, as for all averages). What no datum
    sees keeps the prior's width, up to its scale, which all data inform; where the simulation never was is nothing
    to weigh.

    Parameters
    ----------
    frames : Frames
        Of the simulation; their weights are respected.
    data : dict
        Value and standard deviation of each measured average by name; ``"3J(HN,HA) ALA-2"``, or without the residue
        where there is one only.
    forward : ForwardModel, several of them, or dict
        What :func:`bayescg.features.karplus`, `noe` or `pre` return; or for each datum numbers of the frames ``(n,)``,
        or a function of positions, in the datum's unit.
    cv : callable, name, or two of them
        Along which the force field may be wrong, as in :func:`bayescg.analysis.free_energy`: slow torsions, the CV of
        a fit (``cv=lambda x: fit.cv(x).mean``).
    periodic : bool, or two; optional
        Whether a CV is an angle in radians; default: where its unit is ``"rad"``.
    bins : int, optional
        Cells along each CV, in each of which g is constant. Default: 36, of two CVs 24.
    scale, offset : bool
        Whether the data of each forward model have an unknown common factor a (:math:`\ln a \sim N(0, 0.5^2)`), or an
        unknown offset b (normal, as wide as these data are).
    draws, steps : int
        Chains, and steps of each.
    seed : int

    Returns
    -------
    Ensemble
        Its ``average`` and ``average_of`` give averages and populations as quantities; where a draw leaves fewer than
        5 % of the frames, or ten independent ones, these have no interval.

    Raises
    ------
    ConfigError
        A datum that no forward model has or without a standard deviation above 0; arguments that make no sense.
    DataError
        Values that are not finite, or too few frames.

    References
    ----------
    What it is compared with: maximum entropy reweighting, Bottaro, Bengtsen, Lindorff-Larsen, Methods Mol. Biol. 2112,
    219 (2020), whose one parameter theta is the precision of a prior over tilts along the observables alone; Olsson,
    Wu, Paul, Clementi, Noé, PNAS 114, 8265 (2017).

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> x = np.random.default_rng(0).choice([-1.0, 1.0], 4000, p=[0.8, 0.2])[:, None]
    >>> frames = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    >>> data = {"signal": (0.2, 0.05)}
    >>> ensemble = experiments(frames, data, {"signal": lambda x: x[:, 0]}, cv=lambda x: x[:, 0], draws=100, steps=100)
    >>> right = ensemble.average(lambda x: x[:, 0] > 0)  # .60 if the datum were exact, .2 as simulated
    >>> bool(0.5 < right.mean < 0.62), ensemble.data[0].predicted.unit
    (True, '')
    """
    import xarray as xr

    check_landscape(
        None, frames, cv, periodic, 0.9, bins=(bins or 2, 2), draws=(draws, 20), steps=(steps, 10), seed=(seed, 0)
    )
    measured = measurements(data, forward, frames)
    values, names, cv_units = cv_values(None, frames, cv)
    circular = circular_of(periodic, cv_units)
    k = len(names)
    edges = edges_of(values, bins or _BINS[k], None, circular)
    if (far := np.abs(values[0][:, list(circular)]).max(initial=0.0)) > 2 * np.pi + 1e-6:
        raise ConfigError(f"a periodic CV is in radians, and here reaches {far:.4g}: give np.deg2rad of it")
    position = np.where(circular, wrap(values[0]), values[0])
    cell, _ = in_cells(position, edges)
    cells = (len(edges[0]) - 1) ** k
    frames = in_time(np.hstack([on_the_line(position, circular), measured.per_frame]), frames)
    g_frames = max(
        inefficiency(position, frames, circular),
        inefficiency(measured.per_frame, frames, [False] * len(measured.names)),
    )
    drawing = resampled(frames, g_frames, draws, seed)
    prior = ForceFieldError([0.5 * (e[1:] + e[:-1]) for e in edges], circular)
    averages = Averages(drawing, cell, cells, measured.per_frame)
    nuisances = _Nuisances(measured, scale, offset)

    def log_likelihood(normal: np.ndarray, chains: np.ndarray) -> np.ndarray:
        seen_of_chains = measured.seen(averages(prior.errors(normal[:, : prior.size])[0], chains))
        return nuisances.log_likelihood(seen_of_chains, normal[:, prior.size :])

    rng = np.random.default_rng([seed, 2])
    normal = rng.normal(size=(draws, prior.size + nuisances.size))
    everyone, half = np.arange(draws), normal
    for step in range(steps):
        if step == steps // 2:
            half = normal
        normal = elliptical_slice(log_likelihood, normal, rng)
    g = prior.errors(normal[:, : prior.size])[0]
    last = measured.seen(averages(g, everyone))
    predicted, whole = (nuisances.fitted(a, normal[:, prior.size :]) for a in (last, measured.seen(averages.of_all(g))))
    w0 = weights_of(frames)
    mass = np.bincount(cell, w0, cells) / w0.sum()
    tilt = np.exp(-g)
    tilt /= (tilt @ mass)[:, None]
    squares = np.bincount(cell, w0**2, cells) / w0.sum() ** 2
    effective = float(np.median(squares.sum() / (tilt**2 @ squares)))
    doubt = _doubt(measured, scale or offset, effective, effective_frames(w0) / g_frames)
    simulated = [average(column, frames, draws, seed, "") for column in measured.per_frame.T]
    without = measured.seen(np.stack([q.draws for q in simulated], -1))
    rows = [
        Measured(
            name, unit, float(measured.value[i]), float(measured.sd[i]),
            quantity(without[:, i], np.full(1, without[:, i].mean()), unit, simulated[i].warning),
            quantity(predicted[:, i], whole[:, i], unit, doubt),
            effective_frames(w0 * np.abs(measured.per_frame[:, i])) / g_frames,
        )
        for i, (name, unit) in enumerate(zip(measured.names, measured.units(), strict=True))
    ]  # fmt: skip
    before = measured.seen(averages(prior.errors(half[:, : prior.size])[0], everyone))
    errors = [group.error for group in measured.groups for _ in measured.names[group.columns]]
    shape = (draws, *(len(e) - 1 for e in edges))
    dims = ("draw", "bin") if k == 1 else ("draw", "bin_x", "bin_y")
    centres = {d: 0.5 * (e[1:] + e[:-1]) for d, e in zip(dims[1:], edges, strict=True)}
    error = xr.DataArray(
        (g - (g @ mass)[:, None]).reshape(shape),
        dims=dims,
        coords={"draw": everyone, **centres},
        name="force_field_error",
        attrs={"unit": "kT"},
    )
    weights = np.maximum(w0 * tilt.mean(0)[cell], 0.0)
    texts = [*_warnings(rows, errors, before, last), *([doubt] if doubt else [])]
    visited = error[0].copy(data=(mass > 0).reshape(shape[1:])).drop_vars("draw")
    weighted = replace(frames, weights=weights.astype(np.float32), bias=None, koopman=None)
    return Ensemble(
        weighted, tuple(rows), error, names, cv_units, visited, nuisances.told(normal[:, prior.size :]), effective,
        tuple(texts), doubt, drawing, cell, frames,
    )  # fmt: skip


class _Nuisances:
    """What is unknown of each forward model, as standard normal numbers: its error, and a factor and an offset."""

    def __init__(self, measured: Measurements, scale: bool, offset: bool):
        self._measured, self._scale, self._offset = measured, scale, offset
        self._each = 1 + scale + offset
        self.size = self._each * len(measured.groups)

    def _of(self, group: Group, number: int, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        part = normal[:, number * self._each : (number + 1) * self._each]
        tau = group.error * np.tan(0.5 * np.pi * (2 * ndtr(np.abs(part[:, :1])) - 1))
        a = np.exp(_SCALE * part[:, 1:2]) if self._scale else np.ones_like(tau)
        wide = float(np.abs(self._measured.value[group.columns]).max())
        b = wide * part[:, -1:] if self._offset else np.zeros_like(tau)
        return np.minimum(tau, _MOST * group.error), a, b

    def fitted(self, seen: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Factor and offset applied to what is seen of an ensemble, ``(m, k)``."""
        parts = [
            a * seen[:, group.columns] + b
            for number, group in enumerate(self._measured.groups)
            for _, a, b in [self._of(group, number, normal)]
        ]
        return np.concatenate(parts, 1)

    def log_likelihood(self, seen: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Of the data, ``(m,)``, where so much is seen of an ensemble, ``(m, k)``."""
        taus = [
            np.repeat(self._of(group, number, normal)[0], len(self._measured.names[group.columns]), 1)
            for number, group in enumerate(self._measured.groups)
        ]
        variance = self._measured.sd**2 + np.concatenate(taus, 1) ** 2
        off = self._measured.value - self.fitted(seen, normal)
        total = -0.5 * (off**2 / variance + np.log(variance)).sum(1)
        return np.where(np.isfinite(total), total, -np.inf)

    def told(self, normal: np.ndarray) -> dict[str, np.ndarray]:
        """Draws by the name of each forward model's first datum."""
        draws: dict[str, np.ndarray] = {}
        for number, group in enumerate(self._measured.groups):
            name = self._measured.names[group.columns][0]
            name = name.partition("(")[0] if len(self._measured.groups) == 1 else name
            tau, a, b = self._of(group, number, normal)
            draws[name] = tau[:, 0]
            draws |= {f"{name} scale": a[:, 0]} if self._scale else {}
            draws |= {f"{name} offset": b[:, 0]} if self._offset else {}
        return draws


def _doubt(measured: Measurements, free: bool, share: float, frames: float) -> str | None:
    """Why averages have no interval; data with a free factor or offset may lie anywhere."""
    ends = measured.seen(np.stack([measured.per_frame.min(0), measured.per_frame.max(0)]))
    columns = zip(measured.names, measured.units(), measured.value, measured.sd, *np.sort(ends, 0), strict=True)
    for name, unit, value, sd, low, high in columns:
        if not free and not low - _FAR * sd <= value <= high + _FAR * sd:
            return (
                f"{name} = {value:g} {unit} lies outside what any frame gives, {low:.3g} to {high:.3g}: another unit, "
                "another atom, or conformations that the simulation never saw"
            )
    if share < _FEWEST:
        return (
            f"a typical draw leaves {share:.1%} of the simulation's effective frames: data and simulation hardly "
            "overlap; simulate what the data ask for (umbrella sampling along the CV), or look for a wrong datum, or "
            "for a CV that misses what the force field gets wrong"
        )
    if share * frames < _FEWEST_FRAMES:
        return (
            f"a typical draw leaves {share * frames:.0f} independent frames of the simulation, fewer than "
            f"{_FEWEST_FRAMES}: simulate longer"
        )
    return None


def _warnings(rows: Sequence[Measured], errors: Sequence[float], half: np.ndarray, last: np.ndarray) -> list[str]:
    texts = [
        f"{row.name} stays at {row.predicted.mean:.3g} {row.unit}, far from what is measured: look for a wrong "
        "assignment or forward model, data that contradict each other, or conformations that the simulation never saw"
        for row, error in zip(rows, errors, strict=True)
        if abs(row.predicted.mean - row.value) > _FAR * max(np.hypot(row.sd, error), row.predicted.sd)
    ]
    pairs = zip(half.T, last.T, strict=True)
    memory = [np.corrcoef(a, b)[0, 1] for a, b in pairs if np.ptp(a) > 0 and np.ptp(b) > 0]
    if memory and max(memory) > _REMEMBERED + 3 / len(half) ** 0.5:
        texts.append(
            f"chains still remember where they were half their steps ago (correlation {max(memory):.2f}): give more "
            "steps="
        )
    return texts
