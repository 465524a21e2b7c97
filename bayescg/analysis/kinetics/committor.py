"""Committors and reaction rates with error bars, from trajectories at equilibrium."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bayescg.analysis.block_bootstrap import bootstrap, sources
from bayescg.analysis.drift import DRIFTING, drifts
from bayescg.analysis.kinetics.balanced import Balanced, covariances_of
from bayescg.analysis.kinetics.blocks import Blocks, longer_than
from bayescg.analysis.kinetics.covariances import Covariances, runs
from bayescg.analysis.kinetics.galerkin import FOLDS, principal
from bayescg.analysis.kinetics.integrands import outside, pieces
from bayescg.analysis.kinetics.modes import Functions
from bayescg.analysis.kinetics.reaction import Committor
from bayescg.analysis.kinetics.spectrum import bases_of
from bayescg.errors import DataError

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.inference import Fit
    from bayescg.modelling import Model
    from bayescg.truth.absorbing import Region

__all__ = ["committor"]

FEWEST_PASSAGES = 10


def committor(
    fit: Fit | Model | Callable[[Tensor], Tensor],
    frames: Frames,
    a: Region,
    b: Region,
    lag: float | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Committor:
    r"""Probability q(x) to reach set `b` before set `a`, and the rate from one to the other, with error bars.

    q is zero in `a`, one in `b`, and elsewhere the combination of the given functions and a constant with the least

    .. math:: \nu[q] = \frac{1}{2 \tau} E \sum_i (\Delta_i q)^2 .

    The sum is over the pieces into which a trajectory of length :math:`\tau` is cut by its frames in `a` or `b`: before
    the first of them, after the last, and between the two sets. For reversible dynamics this holds at every lag: the
    least value over all functions is that of the committor, and is the number of reactions from `a` to `b` per time.
    At the shortest lag it is the mean squared change of q, at long ones little is left to it but to count reactions.
    The rate is :math:`k_{ab} = \nu / E[1 - q]`, the number of reactions per time spent coming from `a`.

    Draws are those of a Bayesian bootstrap over blocks that are long against the memory of q. What they average are the
    jackknife's pseudo-values of the coefficients of q and of the roots of the rates, whose mean has less bias; and as
    for :func:`spectrum` they are moved away from it by a factor with the Student t of so many blocks. Rates have no
    interval from fewer than 10 passages, nor where several trajectories do not begin at equilibrium and are too short
    to forget it.

    Parameters
    ----------
    fit : Fit, Model or callable
        As for :func:`spectrum`; they must vary near the sets too. How many combinations of them are used is chosen by
        held-out blocks, and `held_out` of the result compares functions: what they cannot say is not in the band.
    frames : Frames
        Unweighted, or with the weights of ``frames.equilibrium(...)``. Visits to the sets between two frames are not
        seen: with frames far apart, q is that of the dynamics from frame to frame.
    a, b : callable
        From positions to bool (n,): whether a frame is in the set.
    lag : float, optional
        :math:`\tau` (ps, or the unit of a toy system). None: that of the fit's model, or else the time between frames.
    draws : int
    seed : int

    Raises
    ------
    DataError
        No frames in a set; weighted frames, or none with a time axis; too few blocks.
    ConfigError
        The sets overlap.

    References
    ----------
    Roux, J. Chem. Phys. 156, 134111 (2022), for the variational principle from lagged pairs; Strahan et al., J. Chem.
    Theory Comput. 17, 2948 (2021), for trajectories that stop at the sets; Vanden-Eijnden, in Lect. Notes Phys. 703,
    453 (2006), for rates.

    Examples
    --------
    >>> import bayescg as bcg
    >>> spring = bcg.systems.Harmonic()
    >>> frames = bcg.sampling.overdamped(spring, 4000, dt=0.005, chains=20, stride=5)
    >>> q = committor(lambda x: torch.cat([x, x**3], 1), frames, lambda x: x[:, 0] < -1, lambda x: x[:, 0] > 1)
    >>> found = q.summary([[-2.0], [0.0], [2.0]])
    >>> found["mean"].values.round(1), bool(found["low"][1] < 0.5 < found["high"][1])
    (array([0. , 0.5, 1. ]), True)
    """
    if frames.koopman is None and frames.weights is not None and np.ptp(frames.weights) > 0:
        raise DataError(
            "weights say how probable frames are, not paths: a committor needs unbiased trajectories; where "
            "these do not begin at equilibrium, frames.equilibrium(fit, lag=...)"
        )
    bases, like, model = bases_of(fit)
    every = (frames.dt or np.nan) * runs(frames).step
    lag = float(lag or getattr(model, "lag", None) or every)
    blocks, functions, centres, folds = None, [], [], []
    rates = np.empty((draws, 2))
    for m, basis in enumerate(bases[:draws]):
        held = outside(basis, a, b)
        cells = covariances_of(held, frames, lag=lag, like=like, between=pieces)
        cells = replace(cells, shift=np.zeros(cells.size))  # none was taken
        if blocks is None:
            blocks = _blocks(cells, frames.order is not None)
        weights, factors = bootstrap(blocks.ids, draws, seed)
        rows, n = np.arange(m, draws, min(len(bases), draws)), blocks.count
        cov = cells.merged(blocks.ids)
        p, score = _reduced(cov.fixed)
        small = cov.projected(p)
        whole, without = (np.concatenate(_solve(small, w, lag), 1) for w in (np.ones((1, n)), 1 - np.eye(n)))
        parts = n * whole - (n - 1) * without
        mean = parts.mean(0)
        resampled = mean + factors[rows, None] * (weights[rows] @ (parts - mean) / n)
        rates[rows] = np.square(np.maximum(resampled[:, -2:], 0.1 * whole[:, -2:]))
        functions.append(Functions(held, rows, (resampled[:, :-2] @ p.T)[:, :, None], np.zeros((len(rows), 1))))
        centres.append(np.square(np.maximum(mean[-2:], 0.1 * whole[0, -2:])))
        folds.append(score / lag)
    assert blocks is not None
    passages = 2 * cells.weight.sum() * every / float((1 / centres[0]).sum())  # k_ab E[1 - q] = k_ba E[q]
    point = lambda x: functions[0].values(x) @ functions[0].coefficients.mean(0)  # noqa: E731
    few = (
        f"about {passages:.2g} passages between the sets are fewer than the {FEWEST_PASSAGES} from which intervals of "
        "rates would hold: they have none; simulate longer"
    )
    refused = DRIFTING if drifts(point, frames, like) else few if passages < FEWEST_PASSAGES else None
    return Committor(
        functions=functions,
        rates=rates,
        sd_by_source=sources(rates, np.array(centres)),
        lag=lag,
        blocks=blocks.count,
        held_out=np.mean(folds, 0),
        passages=passages,
        warnings=(*(() if frames.koopman is None else frames.koopman.warnings), *_warnings(blocks, refused)),
        refused=refused,
        unit="ps" if frames.unit == "nm" else "",
    )


def _solve(cov: Covariances, weights: np.ndarray, lag: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (draws, m), the last of them 1, and the roots of the rates (draws, 2) from `a` to `b` and back."""
    form, _, mean = cov.mixed(weights)
    a = torch.from_numpy(form)
    lower, failed = torch.linalg.cholesky_ex(a[:, :-1, :-1])
    if failed.any():
        raise DataError("the functions depend linearly on each other in some draws: use fewer, or more frames")
    c = torch.nn.functional.pad(-torch.cholesky_solve(a[:, :-1, -1:], lower)[..., 0], (0, 1), value=1.0)
    flux = torch.einsum("dm,dm->d", a[:, -1], c).numpy() / lag
    from_b = np.einsum("dm,dm->d", mean, c.numpy())
    return c.numpy(), np.sqrt(flux[:, None] / np.stack([1 - from_b, from_b], 1))


def _warnings(blocks: Blocks, refused: str | None) -> tuple[str, ...]:
    warnings = [] if refused is None else [refused]
    if not blocks.enough:
        warnings.append(f"the {blocks.count} blocks are shorter than the memory of q: the bands are too narrow")
    return tuple(warnings)


def _reduced(cov: Covariances) -> tuple[np.ndarray, np.ndarray]:
    """Combinations of the functions (m, r + 1), and what they leave of the form on folds of blocks held out, (folds,).

    Principal components, as for slow modes; their number is that whose q changes least along trajectories that it was
    not found on.
    """
    _, second, mean = cov.mixed(np.ones((1, len(cov))))
    raw = (second + mean[:, :, None] * mean[:, None, :])[0, :-1, :-1]
    full, ranks = principal(raw, whiten=False)
    count, best = min(FOLDS, len(cov)), None
    inside = (np.arange(len(cov)) * count // len(cov) == np.arange(count)[:, None]).astype(np.float64)
    for rank in ranks:
        p = np.pad(full[:, :rank], (0, 1))
        p[-1, -1] = 1.0
        small = cov.projected(p)
        try:
            c, _ = _solve(small, 1 - inside, 1.0)
        except DataError:
            continue
        score = np.einsum("di,dij,dj->d", c, small.mixed(inside)[0], c)
        if best is None or score.mean() < best[1].mean():
            best = p, score
    if best is None:
        raise DataError("q cannot be told from these frames: too few of them lie between the sets")
    return best


def _blocks(cells: Covariances, ordered: bool) -> Blocks:
    """Blocks of the cells that are long against the memory of q and of what makes it differ from its estimate."""
    between, b = cells.first[:, [0, -1]].sum(0)
    for where, frames in {
        "in the set a": cells.weight.sum() - between - b,
        "in the set b": b,
        "in neither": between,
    }.items():
        if not frames > 0.25:
            raise DataError(f"no frame lies {where}: choose other sets, or simulate longer")
    if isinstance(cells, Balanced):
        return Blocks(np.arange(len(cells)), 0.0, True)
    small = cells.projected(_reduced(cells.few())[0])
    c, _ = _solve(small, np.ones((1, len(cells))), 1.0)
    q = small.first @ c[0]
    pull = (small.dirichlet @ c[0])[:, :-1]  # adds up to zero
    form, second, mean = small.mixed(np.ones((1, len(cells))))
    root = np.linalg.cholesky(second[0] + np.outer(mean, mean))[:-1, :-1]
    moved = np.linalg.svd(pull @ np.linalg.solve(form[0, :-1, :-1], root), full_matrices=False)[0][:, :2]
    series = np.c_[q - small.weight * (q.sum() / small.weight.sum()), moved]
    return longer_than(series, series, cells.run, ordered)
