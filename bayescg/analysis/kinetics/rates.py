"""Rates of overdamped dynamics along a CV, from frames at equilibrium that need not be trajectories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg.analysis.block_bootstrap import inefficiency, sources, without_tails
from bayescg.analysis.free_energy.profile import members_in_turn
from bayescg.analysis.kinetics.integrands import gradients
from bayescg.analysis.kinetics.spectrum import diffusion_of
from bayescg.analysis.kinetics.transmission import Shooting
from bayescg.analysis.mixing import unmixed
from bayescg.analysis.quantity import Quantity, rounded
from bayescg.analysis.resampled import resampled
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.feeding.chunks import chunks
from bayescg.inference.refit_cvs import refit_functions
from bayescg.modelling.model import HasCV, Model, cv_of
from bayescg.truth.reduce import values_of

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.inference import Fit
    from bayescg.systems import System
    from bayescg.truth.absorbing import Region

__all__ = ["Rates", "rates"]

FEWEST = 10
"""Frames in every bin between the sets."""

MOST, LEAST = 60, 6


@dataclass(frozen=True, repr=False)
class Rates:
    r"""Rates of a reaction along a CV, as draws.

    Attributes
    ----------
    quantities : dict of str to Quantity
        ``rate_ab``, ``rate_ba``, and the mean first-passage times between the sets, ``time_ab`` and ``time_ba``. With
        shots also ``transmission``, the flux in parts of the least one along the CV.
    edges : list of ndarray, (bins + 1,)
        Of each refit: of the bins of the CV, from what lies in `a` to what lies in `b`.
    committor : list of ndarray, (bins + 1,)
        At the edges, the committor of dynamics along the CV.
    """

    quantities: dict[str, Quantity]
    edges: list[np.ndarray]
    committor: list[np.ndarray]

    def __repr__(self) -> str:
        parts = ", ".join(f"{n} {rounded(q.mean, q.sd)} ± {q.sd:.2g} {q.unit}" for n, q in self.quantities.items())
        bound = "" if "transmission" in self.quantities else "; without shots rates are upper bounds"
        return f"Rates({parts}; {len(self.edges[0]) - 1} bins{bound})"


def rates(
    fit: Fit | Callable[[Tensor], Tensor],
    frames: Frames,
    a: Region,
    b: Region,
    *,
    shots: Frames | None = None,
    system: System | None = None,
    diffusion: Any = None,
    bins: int | None = None,
    draws: int = 200,
    seed: int = 0,
) -> Rates:
    r"""Rates between two sets from the free energy and the diffusion along a CV s, of frames at equilibrium.

    Among all functions of s that are zero in `a` and one in `b`, the least flux

    .. math:: \nu = \Big[\int_{s_a}^{s_b} \frac{ds}{\rho(s) \langle \nabla s \cdot D \nabla s \rangle_s}\Big]^{-1}

    is that of :math:`q(s) = \nu \int_{s_a}^s ds' / (\rho \langle \nabla s \cdot D \nabla s \rangle)`. It is the number
    of reactions per time where the level sets of s are those of the committor, and larger otherwise: never smaller,
    but for what frames leave uncertain. Intervals are about this bound: along a learned committor it was 15 % above the
    rate of a landscape where that is known, with an error of 6 %; with `shots` from some of the frames they are about
    the rate itself (``bayescg.analysis.kinetics.transmission``). The bound is the same for every monotone
    function of s, so that draws of a CV need no common scale; bins are equally long in the distance along it. The rate
    from `a` is :math:`\nu / E[1 - q]`, and its inverse the mean first-passage time to `b` from where reactions begin in
    `a`. The bootstrap's estimate of the bias
    of their logarithms is taken off.

    Parameters
    ----------
    fit : Fit or callable
        The first of its CVs, of each refit; or a function from positions to ``(n,)``.
    frames : Frames
        At equilibrium, weighted or biased (:func:`bayescg.sampling.umbrella`); no trajectories are needed.
    a, b : callable
        From positions to bool (n,): whether a frame is in the set.
    shots : Frames, optional
        Of :func:`bayescg.sampling.commitment` from some of these very frames to `a` and `b`, in this order, by
        overdamped dynamics: ``commitment(system, frames[::20], {"A": a, "B": b}, shots=1, dt=...)``, say. One shot each
        from many frames tells more than many from few.
    system : System, optional
        Sets D to its kT, as in :mod:`bayescg.truth`; for toy systems the frames' kT does. `shots` need it.
    diffusion : float, array or callable, optional
        D, one for each coordinate, a symmetric matrix, or a function from positions to any of these. A molecule needs
        it (nm²/ps): rates are those of overdamped dynamics.
    bins : int, optional
        Between the sets. Default: as many as leave thirty frames in each, 60 at most.
    draws, seed : int

    Raises
    ------
    DataError
        No frames in a set, or too few between them; a molecule without `diffusion`; shots from elsewhere, at other
        sets, or too few.
    ConfigError
        The sets overlap, or s does not lead from one to the other; shots without `system`.

    References
    ----------
    Vanden-Eijnden, in Lect. Notes Phys. 703, 453 (2006), for reactive flux; E, Vanden-Eijnden, in Multiscale Modelling
    and Simulation, Lect. Notes Comput. Sci. Eng. 39, 35 (2004), eq. (41), for its least value over functions of a CV.

    Examples
    --------
    >>> import bayescg as bcg
    >>> frames = bcg.sampling.equilibrium(bcg.systems.QuarticDoubleWell(), 20_000)
    >>> rates(lambda x: x[:, 0], frames, lambda x: x[:, 0] < -1.0, lambda x: x[:, 0] > 1.0).quantities["rate_ab"].unit
    ''
    """
    if diffusion is None and system is None and frames.unit == "nm":
        raise DataError("rates of a molecule are those of overdamped dynamics: give diffusion= in nm^2/ps")
    d = diffusion_of(diffusion, system, None, frames)
    shooting = None if shots is None else Shooting(frames, shots, system, d, a, b)
    functions, like = _functions(fit)
    first = _along(functions[0], frames, d, like, (a, b))
    drawing = resampled(frames, inefficiency(first[0], frames), draws, seed)
    total = drawing.sums(np.zeros(len(frames), dtype=np.int64), 1)
    kinds = 2 if shooting is None else 3
    moves, points, edges_of, q_of = np.empty((draws, kinds)), np.empty((min(len(functions), draws), kinds)), [], []
    for rows, m in members_in_turn(draws, len(functions)):
        s, pull, in_a, in_b = first if m == 0 else _along(functions[m], frames, d, like, (a, b))
        edges, length, slope = _bins(s, pull, in_a, in_b, bins)
        place = np.searchsorted(edges, s)  # 0 and one more than there are beyond the ends
        count = len(edges) - 1
        everything = np.r_[total[0], total[1][rows, 0]][:, None]  # of all frames, and of draws of them
        flux = (
            np.vstack(drawing.sums(np.where(place <= count, place, 0) - 1, count, rows, values=pull * slope**2))
            / everything
        )
        share = np.vstack(drawing.sums(place, count + 2, rows)) / everything
        least, q = _least_flux(flux, length)
        logs = _logs(least, q, share)
        if shooting is not None:
            flux = shooting.flux(functions[m], s, pull, (edges, q[0]), like, drawing, rows) / everything[:, 0]
            transmission = np.log(flux / least)[:, None]
            logs = np.hstack([logs + transmission, transmission])
        moves[rows], points[m] = logs[1:] - logs[0], logs[0]
        edges_of.append(edges)
        q_of.append(q[0])
    bias = moves.mean(0)  # inverses of few frames' sums are too large: as draws differ from the estimate, so it does
    points -= bias
    logs = points[np.arange(draws) % len(points)] + drawing.factors[:, None] * (moves - bias)
    unit = "ps" if frames.unit == "nm" else ""
    quantities = _quantities(logs, points, drawing.factors, unit, unmixed(frames))
    return Rates(quantities, edges_of, q_of)


def _functions(fit: Any) -> tuple[list[Callable[[Tensor], Tensor]], Tensor | None]:
    """The CV of each refit, and what its positions must be like."""
    model: Any = getattr(fit, "model", None)
    if model is None:
        if not callable(fit):
            raise ConfigError(f"fit is {fit!r}: give a fit, or a function from positions to (n,)")
        function: Any = fit
        return [partial(_single, function)], None
    if not isinstance(model, Model) or not isinstance(model, HasCV):
        raise ModelError(f"{type(model).__name__} has no collective variables")
    return refit_functions(model, fit.weights, lambda refit, x: cv_of(refit, x).mean), next(model.parameters())


def _single(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    values = function(x)
    if values.ndim > 1 and values[0].numel() != 1:
        raise ConfigError(f"the CV gives {tuple(values.shape)} for {len(x)} frames: a rate is along one, (n,)")
    return values


def _along(
    s: Callable[[Tensor], Tensor], frames: Frames, diffusion: Any, like: Tensor | None, sets: tuple[Region, Region]
) -> tuple[np.ndarray, ...]:
    """CV, squared gradient with D, and whether in either set, each (n,)."""
    parts = []
    for x in chunks(frames):
        x = x if like is None else x.to(like)
        column = lambda y: s(y).reshape(len(y), -1)[:, :1]  # noqa: E731
        integrands = gradients(column, x, diffusion, np.ones(len(x)), torch.zeros(1, dtype=torch.float64))
        inside = [values_of(region, x) > 0 for region in sets]
        parts.append((integrands.mean[:, 0].numpy(), (integrands.changes[:, :, 0] ** 2).sum(1).numpy(), *inside))
    along, pull, in_a, in_b = (np.concatenate(column) for column in zip(*parts, strict=True))
    if (in_a & in_b).any():
        raise ConfigError(f"the sets a and b overlap: frame {int((in_a & in_b).argmax())} lies in both")
    for name, inside in (("a", in_a), ("b", in_b)):
        if not inside.any():
            raise DataError(f"no frame lies in the set {name}: choose another set, or sample there")
    towards_b = np.sign(along[in_b].mean() - along[in_a].mean())
    return towards_b * along, pull, in_a, in_b


def _bins(
    s: np.ndarray, pull: np.ndarray, in_a: np.ndarray, in_b: np.ndarray, bins: int | None
) -> tuple[np.ndarray, float, np.ndarray]:
    """Edges of bins from the largest CV in `a` to the smallest in `b`, their length, and the slope at each frame
    of the function of the CV in which they are equally long.

    That is the distance along it, by the gradients of a few frames at a time: whatever monotone function the CV is,
    the bins are the same, narrow also where its gradient vanishes.
    """
    low, high = s[in_a].max(), s[in_b].min()
    if not low < high:
        raise ConfigError(
            f"the CV does not lead from a to b: it is up to {low:.3g} in a and from {high:.3g} in b; choose smaller "
            "sets, or a CV that tells them apart"
        )
    order = np.argsort(s)
    order = order[(s[order] > low) & (s[order] < high)]
    few = np.array_split(order, max(1, len(order) // FEWEST))
    knots = np.r_[low, [0.5 * (s[first[-1]] + s[second[0]]) for first, second in pairwise(few)], high]
    steepness = np.array([pull[rows].mean() if len(rows) else 0.0 for rows in few])
    slopes = 1.0 / np.sqrt(steepness.clip(max(1e-12 * steepness.max(), 1e-300)))
    distance = np.r_[0.0, np.cumsum(np.diff(knots) * slopes)]
    count = MOST if bins is None else bins
    while True:
        edges = np.interp(np.linspace(0.0, distance[-1], count + 1), distance, knots)
        fewest = int(np.histogram(s, edges)[0].min())
        if bins is not None or fewest >= 3 * FEWEST or count <= LEAST:
            break
        count = max(LEAST, round(0.9 * count))
    if fewest < FEWEST:
        raise DataError(
            f"one of {count} bins between the sets holds {fewest} frames, fewer than {FEWEST}: use fewer bins=, or "
            "sample the way between the sets, as bcg.sampling.umbrella does"
        )
    return edges, float(distance[-1] / count), slopes[np.searchsorted(knots[1:-1], s)]


def _least_flux(flux: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    """The least flux along the CV (draws,), and its committor at the edges (draws, bins + 1)."""
    resistance = length**2 / flux
    q = np.cumsum(np.pad(resistance, ((0, 0), (1, 0))), 1)
    return 1.0 / q[:, -1], q / q[:, -1:]


def _logs(nu: np.ndarray, q: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Logarithms of both rates (draws, 2)."""
    middle = np.concatenate([np.zeros_like(nu)[:, None], 0.5 * (q[:, 1:] + q[:, :-1]), np.ones_like(nu)[:, None]], 1)
    from_b = (share * middle).sum(1)
    return np.log(nu)[:, None] - np.log(np.stack([1.0 - from_b, from_b], 1))


def _quantities(
    logs: np.ndarray, points: np.ndarray, factors: np.ndarray, unit: str, warning: str | None
) -> dict[str, Quantity]:
    quantities = {}
    centres = points[np.arange(len(logs)) % len(points)]
    per = f"1/{unit}" if unit else ""
    kinds = [("rate_ab", 0, 1.0, per), ("rate_ba", 1, 1.0, per), ("time_ab", 0, -1.0, unit), ("time_ba", 1, -1.0, unit)]
    if logs.shape[1] > 2:
        kinds.append(("transmission", 2, 1.0, ""))
    for name, k, sign, of_time in kinds:
        narrow = np.exp(sign * without_tails(logs[:, k], centres[:, k], factors))
        parts = {s: float(v) for s, v in sources(narrow, np.exp(sign * points[:, k])).items()}
        quantities[name] = Quantity.of(np.exp(sign * logs[:, k]), of_time, warning, narrow, sd_by_source=parts)
    return quantities
