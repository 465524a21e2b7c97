"""Slow modes with error bars: eigenvalues, timescales and eigenfunctions in the functions of a fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg.analysis.block_bootstrap import bootstrap, sources
from bayescg.analysis.drift import DRIFTING, drifts
from bayescg.analysis.fit_checks import check_question
from bayescg.analysis.kinetics.balanced import covariances_of
from bayescg.analysis.kinetics.blocks import Blocks, blocks_of
from bayescg.analysis.kinetics.covariances import runs
from bayescg.analysis.kinetics.integrands import values
from bayescg.analysis.kinetics.modes import Functions, SlowModes
from bayescg.analysis.kinetics.resample import Resampled, resample
from bayescg.data import Frames, check_effective, check_temperature, evenly
from bayescg.errors import ModelError
from bayescg.inference.refit_cvs import refit_functions
from bayescg.modelling import HasBasis, Model
from bayescg.systems.core import check_system

if TYPE_CHECKING:
    from bayescg.inference import Fit
    from bayescg.systems import System

__all__ = ["bases_of", "diffusion_of", "spectrum"]

LEAST_RELAXATIONS = 40
LEAST_OF_SECOND = 500, 100
LEAST_OF_OTHERS = 6000, 300
LEAST_BLOCKS = 10
_MOBILITY = (
    "nobody said how fast the atoms diffuse: eigenvalues and timescales are those of a mobility of one and have no "
    "unit, so that only their ratios mean anything; give a lag= in ps, or diffusion= in nm²/ps"
)


def spectrum(
    fit: Fit | Model | Callable[[Tensor], Tensor],
    frames: Frames,
    lag: float | None = None,
    *,
    system: System | None = None,
    diffusion: Any = None,
    modes: int = 3,
    draws: int = 1000,
    seed: int = 0,
) -> SlowModes:
    r"""Slowest modes of reversible dynamics in the span of given functions, with calibrated error bars.

    For the generator the eigenproblem is :math:`A c = \lambda B c` with :math:`A = E[\nabla\chi \cdot D \nabla\chi]`
    and B the covariance of the functions, over frames at equilibrium or weighted to it. For pairs of frames a lag
    :math:`\tau` apart it is :math:`C_{0\tau} c = \nu C_{00} c`, made symmetric, and
    :math:`\lambda = -\ln \nu / \tau`.

    Draws are those of a Bayesian bootstrap over contiguous blocks, whose length follows from the correlation of the
    modes. Four things make its intervals cover: they are taken for :math:`\sqrt\lambda`, whose error depends least on
    what it turns out to be, as for the root of any number of rare events; draws are moved away from the estimate by a
    factor with the Student t that so many blocks ask for (see :func:`bayescg.analysis.free_energy`); their spread is
    the jackknife's, which unlike the bootstrap's is not too small where a mode hangs on rare values; and they are
    centred where the jackknife says that the bias is gone. That has two parts: eigenvalues are minima over the
    functions, hence too small on few frames, and the variance around an estimated mean is too small, hence they are
    too large.

    No mode has an interval where the slowest one relaxes fewer than 40 times in the data, counted as `relaxations` of
    the result says, nor where several trajectories do not begin at equilibrium, as where they all begin in one well,
    and are too short to forget it (of trajectories that do, this is said one time in twenty). The first was measured:
    at 20 relaxations 90 % intervals of double, quadruple and harmonic wells hold the truth as seldom as 64 times in a
    hundred. Nor have modes after the first an interval that hang on rare frames: the second needs 500 relaxations of
    its own, or 100 in the share of the frames on which it lives (Kish's, of its square), further ones 6000 or 300.
    Without this the second and third mode of a spring, whose tails are heavy, would hold the truth 77 and 53 times in
    a hundred at 60 to 100 relaxations of the first.

    With a lag a mode has no interval where its correlation :math:`\nu` is not above what noise gives: 95 % of the
    largest correlations that remain when the deviations of the blocks from their average are given random signs. The
    interval of a mode that is not far above takes into account that there would be none otherwise: its timescale may
    then be as short as a fourteenth of the lag. Such intervals are right, but the mean of the draws is no estimate: it
    is short by up to 0.4 standard deviations, which a warning says.

    Parameters
    ----------
    fit : Fit, Model or callable
        A fit whose model has a ``basis``, or any differentiable torch function from positions to (n, functions). A
        constant function is not needed.
    frames : Frames
        Their weights are respected by the generator. With a lag only those of ``frames.equilibrium(...)`` are, which
        trajectories need that do not begin at equilibrium; others are refused.
    lag : float, optional
        Lag time (ps, or the unit of a toy system). None: that of the fit's model; for a callable, and for 0, the
        generator.
    system : System, optional
        Only its kT is used, as the default of `diffusion`.
    diffusion : float, array or callable, optional
        D of the generator: a number, one for each coordinate, a symmetric matrix, or a function from positions to any
        of these for each frame. Default: that of the fit's model, or else kT, a mobility of one. For molecules the
        eigenvalues are those of such overdamped dynamics, not of the dynamics that were run, and where nobody chose
        `diffusion` they have no unit.
    modes : int
    draws : int
    seed : int

    Returns
    -------
    SlowModes
        `eigenvalues` and `timescales` (draw, mode), `eigenfunctions(x)`, `quantities` for summaries.

    Raises
    ------
    DataError
        Weighted frames and a lag, unless these are equilibrium weights; weights that leave too few frames; too few
        blocks or functions; functions without gradients, for the generator; frames of another temperature than
        `system`.
    ModelError
        The fit's model has no basis.
    ConfigError
        A number is out of range.

    References
    ----------
    Zhang, Li, Schütte, J. Comput. Phys. 465, 111377 (2022), arXiv:2110.14523, for the generator from samples; Noé,
    Nüske, Multiscale Model. Simul. 11, 635 (2013), for the variational principle with a lag; Rubin, Ann. Statist. 9,
    130 (1981), for the bootstrap; Lee et al., Ann. Statist. 44, 907 (2016), arXiv:1311.6238, for intervals of what was
    selected.

    Examples
    --------
    >>> import bayescg as bcg
    >>> ou = bcg.systems.Harmonic()  # eigenvalues 1, 2, 3, ...
    >>> frames = bcg.sampling.overdamped(ou, 4000, dt=0.01, chains=20, stride=10)
    >>> found = spectrum(lambda x: torch.cat([x, x**2], 1), frames, modes=2)
    >>> low, high = found.ci90.values
    >>> found.eigenvalues.dims, bool((low < [1, 2]).all() and (high > [1, 2]).all())
    (('draw', 'mode'), True)
    """
    import xarray as xr

    check_question(frames, modes=(modes, 1), draws=(draws, 2), seed=(seed, 0))
    bases, like, model = bases_of(fit)
    if lag is None and isinstance(model, HasBasis):
        lag = model.lag
    lag = lag or None
    if lag is None:
        check_effective(frames)
        diffusion = diffusion_of(diffusion, system, model, frames)
    sample = _positions(frames, like)
    blocks, total, by_refit = None, 0.0, []
    for m, basis in enumerate(bases[:draws]):
        cells = covariances_of(basis, frames, lag=lag, diffusion=diffusion, like=like)
        if blocks is None:
            blocks, total = blocks_of(cells, modes, frames.order is not None), float(cells.weight.sum())
        weights, factors = bootstrap(blocks.ids, draws, seed)
        rows = np.arange(m, draws, min(len(bases), draws))
        u = values(basis, sample).numpy()
        first = by_refit[0] if by_refit else None
        by_refit.append(resample(cells.merged(blocks.ids), weights[rows], factors[rows], modes, lag, u, first))
    assert blocks is not None
    rates, members, first = np.empty((draws, modes)), len(by_refit), by_refit[0]
    for m, refit in enumerate(by_refit):
        rates[m::members] = refit.rates
    mode, lost = np.arange(1, modes + 1), np.mean([refit.lost for refit in by_refit], 0) > 0.5
    typical = np.median(rates, 0)
    times = _relaxations(frames, lag, total, typical[0], blocks)
    relaxations = None if times is None else times * np.minimum(1, 5 * np.minimum.accumulate(blocks.share))
    of_its_own = None if times is None else times * typical / typical[0]
    functions = [
        Functions(basis, np.arange(m, draws, members), refit.coefficients, refit.constant)
        for m, (basis, refit) in enumerate(zip(bases, by_refit, strict=False))
    ]
    point = lambda x: functions[0].values(x) @ functions[0].coefficients.mean(0)  # noqa: E731
    refused = _refused(lost, lag, relaxations, of_its_own, blocks.share, drifts(point, frames, like))
    unknown = [k - 1 for k in refused]  # noise may be slower than the modes before it
    rates[:, unknown] = np.maximum.accumulate(rates, 1)[:, unknown]
    mobility = lag is None and frames.unit == "nm" and _is(diffusion, frames.kT)
    doubts = getattr(fit, "diagnostics", {}).get("doubts", ())
    return SlowModes(
        eigenvalues=xr.DataArray(
            rates, dims=("draw", "mode"), coords={"draw": np.arange(draws), "mode": mode}, name="eigenvalue"
        ),
        sd_by_source=sources(rates, np.array([refit.centre for refit in by_refit])),
        lag=lag,
        functions=functions,
        rank=first.rank,
        blocks=blocks.count,
        inefficiency=blocks.inefficiency,
        relaxations=relaxations,
        bias=np.mean([refit.bias for refit in by_refit], 0),
        held_out=xr.DataArray(first.held_out, dims=("fold", "mode"), coords={"mode": mode}, name="held_out"),
        degenerate=first.degenerate,
        warnings=(
            *doubts,
            *(() if frames.koopman is None else frames.koopman.warnings),
            *([_MOBILITY] if mobility else []),
            *_warnings(blocks, first, lost, lag, refused),
        ),
        unit="ps" if frames.unit == "nm" and not mobility else "",
        refused=refused,
    )


def bases_of(fit: Any) -> tuple[list[Any], Tensor | None, Model | None]:
    """The functions of each refit, what their positions must be like, and the model."""
    model = fit if isinstance(fit, Model) else getattr(fit, "model", None)
    if not isinstance(model, Model):
        if not callable(fit):
            raise ModelError(f"{type(fit).__name__} is neither a fit nor a function from positions to values")
        return [fit], None, None
    if not isinstance(model, HasBasis):
        raise ModelError(f"{type(model).__name__} has no basis of functions in which to look for slow modes")
    refits = None if isinstance(fit, Model) else fit.weights
    functions = refit_functions(model, refits, lambda refit, x: refit.basis(x))
    return functions, next(model.parameters(), None), model


def diffusion_of(diffusion: Any, system: System | None, model: Model | None, frames: Frames) -> Any:
    """D as it was given, or else the model's, or kT.

    Raises
    ------
    DataError
        The frames are at another temperature than the system.
    """
    if system is not None:
        check_system(system)
        check_temperature(frames, system.kT)
    if diffusion is None and model is not None:
        diffusion = getattr(model, "diffusion", None)
    if diffusion is not None:
        return diffusion
    return frames.kT if system is None else system.kT


def _positions(frames: Frames, like: Tensor | None) -> Tensor:
    """Of a few frames from all over."""
    index = evenly(frames, 2000)
    x = torch.as_tensor(frames.gather(index))
    return x if like is None else x.to(like)


def _is(diffusion: Any, kT: float) -> bool:
    """Whether D is kT, a mobility of one, that nobody chose."""
    return isinstance(diffusion, float) and abs(diffusion - kT) < 1e-6 * kT


def _relaxations(frames: Frames, lag: float | None, total: float, rate: float, blocks: Blocks) -> float | None:
    """How often the slowest mode relaxes in `total` frames or pairs.

    The generator's rates are those of the frames only where they come from its dynamics: not where they are weighted,
    nor for molecules. Then the memory of the modes counts: a statistical inefficiency is two relaxation times. None:
    the frames have no order.
    """
    if frames.order is None:
        return None
    if frames.dt is not None and (lag is not None or (frames.weights is None and frames.unit != "nm")):
        return total * frames.dt * runs(frames).step * rate
    return 2 / blocks.inefficiency if blocks.inefficiency > 0 else np.inf


def _refused(
    lost: np.ndarray,
    lag: float | None,
    relaxations: np.ndarray | None,
    of_its_own: np.ndarray | None,
    share: np.ndarray,
    drifting: bool,
) -> dict[int, str]:
    """Why modes, by number, have no interval.

    A mode needs the slower ones to have relaxed, and needs frames where it lives itself: with less than a fifth of
    them, by Kish's share (of a Gaussian a third), `relaxations` of the slowest mode count for as much less. One after
    the first needs relaxations `of_its_own` too.
    """
    refused = {}
    for k, gone in enumerate(lost):
        if gone:
            refused[k + 1] = f"mode {k + 1} decays within the lag {lag:g}: use a shorter one"
        elif drifting:
            refused[k + 1] = DRIFTING
        elif relaxations is not None and relaxations[k] < LEAST_RELAXATIONS:
            refused[k + 1] = (
                f"the data are worth about {relaxations[k]:.2g} relaxations of the slowest mode for mode {k + 1}, "
                f"fewer than the {LEAST_RELAXATIONS} from which its interval would hold: it has none; simulate longer"
            )
        elif of_its_own is not None and _fast_and_few(k, of_its_own[k], share[k]):
            refused[k + 1] = (
                f"mode {k + 1} relaxes about {of_its_own[k]:.2g} times in the data, in {share[k]:.0%} of the frames: "
                "too seldom for its interval to hold, so that it has none; simulate longer"
            )
    return refused


def _fast_and_few(k: int, times: float, share: float) -> bool:
    """Whether mode k, counted from 0, relaxes too seldom in its share of the frames for its interval to hold."""
    anywhere, there = LEAST_OF_SECOND if k == 1 else LEAST_OF_OTHERS
    return k > 0 and times < anywhere and times * share < there


def _warnings(
    blocks: Blocks, first: Resampled, lost: np.ndarray, lag: float | None, refused: dict[int, str]
) -> tuple[str, ...]:
    """What to know before the intervals are believed."""
    warnings = [_inseparable([k + 1 for k in group], len(lost)) for group in first.degenerate]
    if lost.any():
        of = ", ".join(map(str, np.flatnonzero(lost) + 1))
        verb = f"mode {of} decays" if lost.sum() == 1 else f"modes {of} decay"
        warnings.append(
            f"{verb} within the lag {lag:g}: what correlation is left cannot be told from noise, so there is no "
            "interval; use a shorter lag"
        )
    warnings += dict.fromkeys(why for mode, why in refused.items() if not lost[mode - 1])
    warnings += [
        f"mode {k + 1} is barely above noise after the lag {lag:g}: its interval allows for that, but its mean is no "
        "estimate; use a shorter lag"
        for k in np.flatnonzero(first.barely)
        if k + 1 not in refused
    ]
    if blocks.count < LEAST_BLOCKS:
        warnings.append(f"there are only {blocks.count} blocks of frames: the intervals are rough; simulate longer")
    if not blocks.enough:
        warnings.append(
            f"the slow modes stay correlated for {blocks.inefficiency:.1%} of the frames, and the {blocks.count} "
            "blocks are shorter than three times that: the error bars are too small; simulate longer"
        )
    return tuple(warnings)


def _inseparable(group: list[int], asked: int) -> str:
    """Of modes that are counted from 1, of which those beyond the number that was asked for are not named."""
    named = [k for k in group if k <= asked]
    which = f"mode{'s' if len(named) > 1 else ''} {', '.join(map(str, named))} cannot be told apart"
    means = "only the span of their eigenfunctions means anything, and intervals of single eigenvalues are rough"
    if named == group:
        return f"{which}: {means}"
    return f"{which} from the next, which was not asked for: {means}; ask for modes={group[-1]}"
