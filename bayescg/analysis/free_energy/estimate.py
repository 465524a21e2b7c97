"""Free energies along collective variables, with error bars from blocks of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.analysis.binning import circular_of, cv_values, edges_of, in_cells
from bayescg.analysis.block_bootstrap import FOLLOW, in_time, inefficiency, on_the_line, weights_of
from bayescg.analysis.drift import beginnings
from bayescg.analysis.evaluation import wrap
from bayescg.analysis.fit_checks import check_landscape
from bayescg.analysis.free_energy.profile import FreeEnergy, mean_of_draws, members_in_turn
from bayescg.analysis.free_energy.refits import apart_in_log_z
from bayescg.analysis.free_energy.sparse import (
    FEWEST,
    FEWEST_BINS,
    bins_for,
    effective_frames,
    own_draws,
    remedy,
    told_ranges,
    told_share,
    uneven,
)  # fmt: skip
from bayescg.analysis.mixing import unmixed
from bayescg.analysis.resampled import OfPotentials, few_potentials, resampled
from bayescg.data.split import spacing
from bayescg.errors import ConfigError, DataError
from bayescg.inference.reweighting import FEW, TOO_FEW, UNRELIABLE, WORST_K, reweighted

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.inference import Fit

__all__ = ["UNAUDITED", "free_energy"]

UNAUDITED = (
    "these are the fit's own draws, compared with nothing: a well that it has lost is missing here, and in the error "
    "bars; bcg.analysis.audit(fit) looks for it"
)


def free_energy(
    fit: Fit | None,
    frames: Frames | None = None,
    cv: Callable[..., Any] | str | Sequence[Any] | None = None,
    bins: int | None = None,
    draws: int = 200,
    level: float = 0.9,
    seed: int = 0,
    range: Sequence[Any] | None = None,
    periodic: bool | Sequence[bool] | None = None,
) -> FreeEnergy:
    r"""Free energy :math:`F(s) = -kT \ln p(s)` along one or two CVs, with error bars.

    Draws are made by a Bayesian bootstrap over contiguous blocks of frames, at least five times as long as the CV's
    statistical inefficiency, times the draws of the CV itself where the fit has them (ensemble, bootstrap) and `cv` is
    the fit's own. The two are taken as independent: intervals are wider than need be, by up to 1.4, of a bootstrap's
    CVs that move with the frames, as if centred on them. Frames of draws of a fitted potential
    (``fit.system(draws=...)``) spread as these draws do: each is a possible truth, and only what chance makes of its
    frames is averaged out. Intervals of a plain block bootstrap are too narrow when there are few blocks; here each
    draw of a log probability is moved away from the estimate of all frames by a random factor
    :math:`\sqrt{(n+1)/\chi^2_{n-1}}`, n the number of blocks, which gives a Student t with n - 1 degrees of freedom.

    Parameters
    ----------
    fit : Fit or None
        Not needed where `cv` is given.
    frames : Frames, optional
        Their weights are respected. None, for a fit that learned from energies: 200 000 draws of its own, reweighted
        (:func:`bayescg.analysis.reweighted`). What :func:`bayescg.analysis.audit` has found missing in such draws,
        also in those given, or that nobody has looked, is among the `warnings`; so are refits that lost something.
        Where something is missing, or fewer than 1 % of the draws count, differences and populations have no interval.
    cv : callable, name, or two of them; optional
        Maps positions to ``(n,)`` or ``(n, 2)``; a name of :mod:`bayescg.features.observables`; a pair such as
        ``("phi", "psi")``. None: the mean of the fit's CV; of those of which some mean something by themselves, as the
        logit of a committor does, only these.
    bins : int, optional
        For each CV. None: as many as leave about twenty frames for each bin, from 5 to 80; fewer where weights leave a
        fifth of the probability to bins of fewer than ten effective ones.
    draws : int
    level : float
        Of the band, between 0 and 1.
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
        An argument that makes no sense; neither `fit` nor `cv`, or neither `fit` nor `frames`.
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

    check_landscape(
        fit, frames, cv, periodic, level, bins=(2 if bins is None else bins, 2), draws=(draws, 2), seed=(seed, 0)
    )
    if frames is None:
        if fit is None:
            raise ConfigError("free_energy needs frames, or a fit that learned from energies and has its own")
        frames = reweighted(fit, seed=seed)
    if frames.bias is not None:  # path by path, as visits are counted
        frames = frames.subset(np.argsort(frames.bias.replica, kind="stable"))
    values, names, cv_units = cv_values(fit, frames, cv)
    k = values.shape[2]
    circular = circular_of(periodic, cv_units)
    w = weights_of(frames)
    w = w / w.mean()
    bins = _bins(values, w, range, circular) if bins is None else bins
    edges = edges_of(values, bins, range, circular)
    values = np.where(circular, wrap(values), values)
    ordered = frames.order is not None
    frames = in_time(on_the_line(values.mean(0), circular), frames)
    g = inefficiency(values.mean(0), frames, circular)
    if "refits" in frames.provenance and (refits := len(np.unique(frames.trajectory))) < 3:
        raise DataError(f"only {refits} refits: too few for an error bar; fit an ensemble with members=3 or more")
    drawing = resampled(frames, g, draws, seed)
    everywhere = drawing.sums(np.zeros(len(frames), dtype=np.int64), 1)
    cells = (bins,) * k
    log_p = np.full((draws, bins**k), np.nan)
    runs = _runs(frames)
    (effective, visited, mass), untold = np.zeros((3, bins**k)), np.zeros(bins**k, dtype=bool)
    for rows, m in members_in_turn(draws, len(values)):
        cell, within = in_cells(values[m], edges)
        moved = runs | np.r_[True, np.diff(np.where(within, cell, -1)) != 0]
        held = effective_frames(cell[within], w[within], bins**k, None if frames.order is None else moved[within])
        effective += held / len(values)
        visited += np.bincount(cell[within], minlength=bins**k) / len(values)
        mass += np.bincount(cell[within], w[within], minlength=bins**k)
        if frames.weights is not None:
            untold |= uneven(cell[within], w[within], held)
        mass_in_bins, sums = drawing.sums(np.where(within, cell, -1), bins**k, rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            point = np.log(mass_in_bins / everywhere[0])
            moves_to = np.log(sums / everywhere[1][rows]) - point
            log_p[rows] = np.where(np.isfinite(point), point + drawing.factors[rows, None] * moves_to, -np.inf)
    profile = -np.where(np.isfinite(log_p).any(0), log_p, np.nan)
    lowest = mean_of_draws(profile)
    if not np.isfinite(lowest).any():
        raise DataError("no bin is visited in most draws: use fewer bins, or a range= that holds the frames")
    zero = np.nanargmin(lowest)
    profile -= np.where(np.isfinite(profile[:, zero]), profile[:, zero], lowest[zero])[:, None]
    untold |= effective < FEWEST
    dims = ("bin",) if k == 1 else ("bin_x", "bin_y")
    centres = {d: (e[1:] + e[:-1]) / 2 for d, e in zip(dims, edges, strict=True)}
    array = xr.DataArray(
        profile.reshape(draws, *cells),
        dims=("draw", *dims),
        coords={"draw": np.arange(draws), **centres},
        name="free_energy",
        attrs={"unit": "kT"},
    )
    where = told_share(untold, mass)
    if k == 1 and (where := told_ranges(untold, effective, visited, edges[0])):
        where = f"{names[0]} from {where} {cv_units[0]}".rstrip()
    doubt = unmixed(frames) or beginnings(on_the_line(values.mean(0), circular), frames)
    few, follow = few_potentials(frames), None if ordered or frames.order is None else FOLLOW
    doubts = [text for text in (doubt, few, follow) if text]
    lone = None if isinstance(drawing, OfPotentials) else few
    return FreeEnergy(
        profile=array,
        edges=edges,
        names=names,
        cv_units=cv_units,
        periodic=circular,
        level=level,
        inefficiency=g,
        warnings=(*_warnings(fit, frames, g, drawing.block_of, where, k), *doubts),
        effective=xr.DataArray(effective.reshape(cells), dims=dims, coords=centres),
        untold=untold.reshape(cells),
        remedy=remedy(frames),
        temperature=frames.temperature,
        values=values,
        drawing=drawing,
        run_starts=runs,
        ordered=frames.order is not None,
        refits=frames.provenance.get("refits"),
        doubt=_doubt(fit, frames) or doubt or lone,
    )


def _runs(frames: Frames) -> np.ndarray:
    """Whether the frame before one is no earlier moment of the same path, (n,)."""
    if frames.bias is not None:
        return np.r_[True, np.diff(frames.bias.replica) != 0]
    runs = np.r_[True, np.diff(frames.trajectory) != 0]
    if frames.order is not None:
        runs[1:] |= np.diff(frames.order) != spacing(frames.order)
    return runs


def _doubt(fit: Fit | None, frames: Frames) -> str | None:
    """What an audit has found missing in a fit's own draws, or why these tell nothing."""
    if fit is None or not own_draws(frames):
        return None
    counted = max(frames.provenance["ess_fraction"])
    poor = [TOO_FEW.format(counted)] if counted < FEW else []
    return "; ".join([*fit.diagnostics.get("audit", {}).get("missing", []), *poor]) or None


def _warnings(fit: Fit | None, frames: Frames, g: float, ids: np.ndarray, where: str, cvs: int) -> Iterator[str]:
    k_tail, shortest = frames.provenance.get("pareto_k", 0.0), int(np.bincount(ids).min())
    if k_tail > WORST_K:
        yield UNRELIABLE.format(k_tail)
    if apart := apart_in_log_z(frames):
        yield apart
    if own_draws(frames) and fit is not None:
        audited = fit.diagnostics.get("audit")
        yield from (UNAUDITED,) if audited is None else audited["warnings"]
    if frames.koopman is not None:  # whose blocks are whole trajectories, independent of each other
        yield from frames.koopman.warnings
    elif frames.order is not None and shortest < 5 * g:
        yield f"the CV stays correlated for g = {g:.0f} frames and blocks hold {shortest}: the error bars are too small"
    if where:
        few = f"a bin holds fewer than {FEWEST} effective frames there, or its weights are too uneven"
        yield f"no band for {where}: {few}; {remedy(frames)}" + ", or use fewer bins" * (cvs > 1)


def _bins(values: np.ndarray, w: np.ndarray, limits: Any, circular: Sequence[bool]) -> int:
    """As many bins for each CV as frames and their weights allow; values (members, n, k)."""
    k = values.shape[2]
    bins, first = bins_for(len(w), k), np.where(circular, wrap(values[0]), values[0])
    while bins > FEWEST_BINS:
        cell, within = in_cells(first, edges_of(values, bins, limits, circular))
        cell, held = cell[within], w[within]
        if not told_share(effective_frames(cell, held, bins**k) < FEWEST, np.bincount(cell, held, bins**k)):
            break
        bins = max(FEWEST_BINS, round(0.7 * bins))
    return bins
