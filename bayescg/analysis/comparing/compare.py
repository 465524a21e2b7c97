"""Which of several models describes held-out blocks best, and whether the data can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bayescg.analysis.comparing.block_scores import BY_FRAME, BlockScores, by_pairs, in_blocks, trajectory_of
from bayescg.analysis.comparing.comparison_table import Compared, Comparison, estimate
from bayescg.analysis.comparing.cross_validation import cross_validated
from bayescg.analysis.comparing.evidence_bounds import Bounds, bounds_of_all
from bayescg.analysis.comparing.mixture_weights import pseudo_bma, stacking
from bayescg.analysis.fit_checks import check_question, was_trained_on
from bayescg.analysis.kinetics.scores import MODES, SCORES, common_diffusion, kinetic_score
from bayescg.arguments import check_choice, check_counts
from bayescg.data import Frames, Pairs, Stretches, evenly
from bayescg.errors import ConfigError, DataError
from bayescg.inference import Fit
from bayescg.inference.reweighting import SAMPLES
from bayescg.modelling import HasMap, HasPotential, Model
from bayescg.systems import System

__all__ = ["ALL_SCORES", "compare"]

_LONGER = 3
_LOOKED_AT = 50
_MOST_STRETCHES = 20
_LONGEST = 0.5
"""Of a trajectory, that a lag may be without a word."""
ALL_SCORES = (*BY_FRAME, "log_z", *SCORES)


def compare(
    fits: Mapping[str, Any],
    on: Frames | Pairs | Stretches | None = None,
    score: str = "log_score",
    *,
    lag: float | None = None,
    modes: int | Mapping[str, int] | None = None,
    diffusion: Any = None,
    blocks: int | None = None,
    folds: int | None = None,
    restarts: int = 1,
    samples: int = SAMPLES,
    seed: int = 0,
    workers: int | None = 0,
    cluster: Any = None,
    out: str | Path | None = None,
    progress: bool | None = None,
    **training: Any,
) -> Comparison:
    r"""Compare models by how well they describe blocks of frames that they have not seen.

    Each score is a mean over contiguous blocks, and so is the difference of two of them, taken block by block: what is
    hard or easy for all alike drops out, so that its standard error is smaller than those of the scores. Leaving out
    single frames or pairs instead (PSIS-LOO) would leave their neighbours in time among the data.

    Another seed of a training gives another score. Of fits of which a name has one alone, the errors are about the
    held-out frames only; of several fits of a name, which differ in their seeds, errors and ties hold what training
    adds. With `folds` all candidates are trained anew, on all folds but one, and scored on that: the folds scatter by
    the frames in them and by the trainings alike, and nothing need be held out beforehand.

    - ``"log_score"``: log density of a frame with the latent variables integrated out, of the later frame of a pair
      given the first one, or of a whole stretch of a trajectory, at the trained parameters, in nats. The density is one
      of features: only fits of the same features and lag can be compared, unless it is relative to equilibrium
      (`ReversibleDeepMSM`), of one variable in its own unit (:class:`bayescg.models.EffectiveDynamics`), or over
      coordinates of conformations (:class:`bayescg.features.UnboundedCoordinates`, `InternalCoordinates`): it is then
      that of conformations, rigid motions apart, whatever their coordinates. Beside it stand the weights of a mixture
      of the candidates (stacking, pseudo-BMA+).
    - ``"forces"``: minus the mean square of what a potential misses of a component of the forces, in their unit. What
      degrees of freedom that it does not know do to them is in all scores, and in no difference.
    - ``"commitments"``: log probability of where the shots from a frame ended, in nats, of models that foretell it
      (:class:`bayescg.models.MultitaskCV`), whatever else they learn from.
    - ``"steps"``: minus the mean square of what a map (:class:`bayescg.models.ActionMap`) misses of the later state of
      a pair, in units of how far each coordinate and momentum moves: of one that leaves all as it is, -1.
    - ``"log_z"``: of fits that learned from a system's energies, without frames, the evidence lower bound of log Z: the
      higher, the nearer is the fit to the system. `Comparison.bounds` has the estimate and the upper bound as well.
    - ``"vamp2"``, ``"vampe"``, ``"timescales"``: for anything with functions of slow modes, whatever its features and
      loss. The modes are found on all other blocks. With :math:`C_{00}, C_{0\tau}` the covariances of these on the
      block, :math:`\nu` their eigenvalues on the others, and A the Dirichlet form of the generator there, they are
      :math:`1 + \|C_{00}^{-1/2} C_{0\tau} C_{00}^{-1/2}\|_F^2`;
      :math:`1 + \mathrm{tr}(2 \nu C_{0\tau} - \nu C_{00} \nu C_{00})`, an average over frames but for its last term,
      at most the same; and :math:`\mathrm{tr}(2 C_{00} \Lambda^{-1} - \Lambda^{-1} A \Lambda^{-1})`, for the generator,
      at most the sum of the timescales. To choose the number of modes, use one of the last two: ``"vamp2"`` gains by
      any further mode, be it noise. They are scores of blocks: the last term of ``"vampe"`` is larger by the variance
      of :math:`C_{00}` over them, which counts against a function that is now and then large, the more the shorter they
      are. Few long blocks lose least.

    Scores at different lags are of different things, but slow modes that were learned at different lags can be compared
    at one `lag`: with `folds`, each model is trained at its own (``lag=`` of the model) and scored at the common one. A
    lag that was too short shows as modes that are forgotten by then; take a `lag` as long as what a CV is to foretell.
    Whether dynamics is Markovian at a lag, :func:`bayescg.analysis.chapman_kolmogorov` tells.

    Parameters
    ----------
    fits : mapping
        Names of fits, or of lists of fits that differ in their seeds. With `folds` also of models; for kinetic scores
        of models and of functions from positions to (n, functions); for forces of systems.
    on : Frames, Pairs or Stretches, optional
        That none of the fits was trained on; with `folds`, all there are.
    score : {"log_score", "forces", "commitments", "steps", "log_z", "vamp2", "vampe", "timescales"}
    lag : float, optional
        Of ``"vamp2"`` and ``"vampe"``, and of models that learn from pairs and have none of their own; None: that of
        the pairs, or of the fits where they agree.
    modes : int or mapping of str to int, optional
        Of kinetic scores: how many slow modes count, for all or for each. None: as many as each has, at most 3; of
        ``"vamp2"`` 3 of all.
    diffusion : optional
        Of ``"timescales"``, one for all; None: as for :func:`bayescg.analysis.spectrum`, the same for each.
    blocks : int, optional
        None: of log scores and forces as many, up to 20, as are long against what their differences remember; else 10.
    folds : int, optional
        Of a cross-validation, 3 or more; 5 to 10 are usual. An interval is a Student t of one less.
    restarts : int
        Trainings on each fold, whose mean counts.
    samples : int
        Of ``"log_z"``: energies that are computed for each fit.
    seed : int
    workers : int or None
        Processes of this machine for the folds; None: as many as cores; 0: this one.
    cluster : optional
        A Dask scheduler, as for :func:`bayescg.experiments.map`.
    out : path, optional
        A directory where the scores of folds are kept: the same call goes on there.
    progress : bool, optional
        Show a progress bar over the folds; None: in a terminal.
    **training
        Of the folds, arguments of :func:`bayescg.fit` such as ``steps=2000``, for all candidates. None: those that a
        fit was made with, or the model's own. Trained values are scored, and nothing else is trained: neither refits
        of an ensemble nor a Laplace posterior.

    Returns
    -------
    Comparison
        `rows`, the best first; `tied`, those that the data cannot tell from it; `warnings`.

    Raises
    ------
    ConfigError
        An unknown score, fits without a density, densities or scores that are not of the same thing, or `modes` that
        leave one out.
    DataError
        Frames without forces, too few for the folds, or of which a density is not finite.
    RunError
        Some trainings of folds failed, after all others were finished.

    References
    ----------
    Vehtari, Gelman, Gabry, Stat. Comput. 27, 1413 (2017), section 5, for standard errors of differences; Roberts et
    al., Ecography 40, 913 (2017), for blocks; McGibbon, Pande, J. Chem. Phys. 142, 124105 (2015), for kinetic
    scores; Wu, Noé, J. Nonlinear Sci. 30, 23 (2020), arXiv:1707.04659, eqs. (22) and (33), for VAMP-2 and VAMP-E.

    Examples
    --------
    >>> import bayescg as bcg
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic((1.0, 4.0)), 1000, dt=0.01, chains=20, stride=10)
    >>> found = compare({"slow": lambda x: x[:, :1], "fast": lambda x: x[:, 1:]}, frames, "vamp2", lag=0.2, modes=1)
    >>> found.best, found.tied, found["fast"].difference < 0
    ('slow', ['slow'], True)
    """
    if not isinstance(fits, Mapping) or not fits:
        raise ConfigError('fits must be a mapping of names to fits or functions: {"torsions": fit, ...}')
    check_choice(score=(score, ALL_SCORES))
    candidates = {str(name): list(each) if isinstance(each, list | tuple) else [each] for name, each in fits.items()}
    for name, each in candidates.items():
        if not each:
            raise ConfigError(f"{name}: there is no fit in its list")
        if len({id(fit) for fit in each}) < len(each):
            raise ConfigError(f"{name}: one fit is in its list twice; give fits of several seeds")
    check_counts(restarts=(restarts, 1), samples=(samples, 1), seed=(seed, 0))
    if score == "log_z":
        not_taken = {"frames": on, "folds=": folds, "lag=": lag, "modes=": modes, "restarts=": restarts - 1 or None}
        if some := [name for name, value in not_taken.items() if value is not None]:
            raise ConfigError(f"score='log_z' is of fits without frames: it takes no {', '.join(some)}")
        scores, bounds = bounds_of_all(candidates, samples, seed)
        return _table(scores, score, None, [], [], None, candidates, bounds)
    frames = on.frames if isinstance(on, Pairs | Stretches) else on
    kinetic = score in SCORES
    least = 3 if kinetic else 2
    check_question(
        frames, blocks=(least if blocks is None else blocks, least), folds=(3 if folds is None else folds, 3)
    )
    assert on is not None
    assert frames is not None
    lag = _common_lag(candidates, on, score, lag)
    if blocks is not None and len(on) < 2 * blocks:
        raise DataError(f"{len(on)} frames or pairs are too few for {blocks} blocks; give fewer blocks")
    if modes is not None and not kinetic:
        raise ConfigError(f"modes= is of slow modes, which score={score!r} knows nothing of")
    modes = MODES if modes is None and score == "vamp2" else modes
    counts = {str(n): m for n, m in modes.items()} if isinstance(modes, Mapping) else dict.fromkeys(candidates, modes)
    if kinetic and set(counts) != set(candidates):
        raise ConfigError(f"modes= is of {', '.join(counts) or 'nothing'}; give it for each of {', '.join(candidates)}")
    check_counts(**{f"modes of {name}": (1 if count is None else count, 1) for name, count in counts.items()})
    if score == "log_score":
        _check_densities(candidates, frames, folds is not None)
    if score == "forces":
        _check_forces(candidates, frames)
    if score in ("commitments", "steps"):
        _check_able(candidates, score)
    if score == "timescales":
        diffusion = common_diffusion({name: each[0] for name, each in candidates.items()}, diffusion, frames)
    if folds is not None:
        if several := [name for name, each in candidates.items() if len(each) > 1]:
            raise ConfigError(f"{several[0]} is a list of fits; with folds= give one, or its model, and restarts=")
        how = {"workers": workers, "cluster": cluster, "progress": progress, "out": out, "training": training}
        scores = cross_validated(
            {name: each[0] for name, each in candidates.items()}, frames, score, lag=lag, modes=counts,
            diffusion=diffusion, folds=folds, restarts=restarts, seed=seed, **how,
        )  # fmt: skip
    else:
        if training or restarts > 1:
            raise ConfigError(
                f"{', '.join([*training, *(['restarts'] * (restarts > 1))])}: nothing is trained but with folds="
            )
        scores = _scores(candidates, on, frames, score, lag, counts, diffusion, blocks)
    trained_on = []
    if folds is None:
        trained_on = [n for n, each in candidates.items() if any(was_trained_on(fit, frames) for fit in each)]
    warnings = [*scores.warnings, *_warnings(trained_on, scores.memory, next(iter(scores.of.values())).shape[1])]
    if kinetic and lag is not None and frames.times is not None and lag > _LONGEST * np.ptp(frames.times):
        warnings.append(
            f"the lag of {lag:g} is more than half of the longest trajectory: too few pairs are independent; scores of "
            "what remembers nothing look like those of what does"
        )
    if score == "vamp2" and len(set(counts.values())) > 1:
        warnings.append("vamp2 gains by any further mode, be it noise: to compare numbers of modes use vampe")
    return _table(scores, score, lag, warnings, trained_on, folds, candidates, {})


def _scores(
    candidates: Mapping[str, Sequence[Any]], on: Frames | Pairs | Stretches, frames: Frames, score: str,
    lag: float | None, modes: Mapping[str, int | None], diffusion: Any, blocks: int | None,
) -> BlockScores:  # fmt: skip
    """Of candidates as they are, on frames that were held out."""
    if score in SCORES:
        each = {
            name: [kinetic_score(fit, frames, score, lag, diffusion, modes[name], blocks or 10) for fit in fits]
            for name, fits in candidates.items()
        }
        return BlockScores(
            {name: np.stack([values for values, _, _ in results]) for name, results in each.items()},
            max(memory for results in each.values() for _, _, memory in results),
            in_sample={name: float(np.mean([above for _, above, _ in results])) for name, results in each.items()},
        )
    data: Frames | Pairs | Stretches = frames
    if by_pairs(score, model := _model(next(iter(candidates.values()))[0])):
        assert lag is not None
        data = on if isinstance(on, Pairs) else frames.lagged(lag)
    elif score == "log_score":
        data = model.rows(on)
    if isinstance(data, Stretches) and blocks is None:
        blocks = min(len(data), _MOST_STRETCHES)  # each is long against what it remembers
    series = {name: np.stack([BY_FRAME[score](fit, data) for fit in fits]) for name, fits in candidates.items()}
    scores = in_blocks(series, trajectory_of(data), data.weights, blocks)
    if score == "log_score":
        mixed = {n: np.logaddexp.reduce(rows, axis=0) - np.log(len(rows)) for n, rows in series.items()}
        return replace(scores, densities=mixed)
    return scores


def _table(
    scores: BlockScores, score: str, lag: float | None, warnings: list[str], trained_on: list[str], folds: int | None,
    candidates: Mapping[str, Sequence[Any]], bounds: Mapping[str, Bounds],
) -> Comparison:  # fmt: skip
    refitted = folds is not None
    best = max(scores.of, key=lambda name: scores.of[name].mean())
    mixing: dict[str, tuple[float, float]] = {}
    if scores.densities:
        stacked = stacking(np.stack(list(scores.densities.values())), scores.weight)
        averaged = pseudo_bma([values.mean(0) for values in scores.of.values()], scores.worth)
        mixing = {n: (float(a), float(b)) for n, a, b in zip(scores.of, stacked, averaged, strict=True)}
    rows = []
    for name, values in scores.of.items():
        plain = estimate({1: values}, scores.seen, refitted)
        apart = estimate({1: values, -1: scores.of[best]}, scores.seen, refitted) if name != best else None
        rows.append(
            Compared(
                name, plain.mean, plain.se, *((apart.mean, apart.se, apart.dof) if apart else (0.0, 0.0, plain.dof)),
                values, scores.in_sample.get(name), *mixing.get(name, (None, None)), scores.unfinished.get(name, 0.0),
            )
        )  # fmt: skip
    rows.sort(key=lambda row: -row.score)
    lone = (
        [] if refitted else [name for name, each in candidates.items() if len(each) == 1 and isinstance(each[0], Fit)]
    )
    return Comparison(
        tuple(rows), score, lag, tuple(warnings), scores.seen, tuple(trained_on), folds, tuple(lone), dict(bounds)
    )


def _common_lag(
    candidates: Mapping[str, Sequence[Any]], on: Frames | Pairs | Stretches, score: str, lag: float | None
) -> float | None:
    """The lag that all are compared at; None for what knows none.

    Raises
    ------
    ConfigError
        There are several, or it is not that of the pairs.
    """
    if score in ("timescales", "forces", "commitments"):
        if lag is not None:
            raise ConfigError(f"score={score!r} has no lag, got lag={lag!r}")
        return None
    of_models = {name: _lag_of(_model(fit), on) for name, fits in candidates.items() for fit in fits}
    trained = {name: t for name, t in of_models.items() if t is not None}
    of_pairs = on.lag if isinstance(on, Pairs | Stretches) else None
    if lag is None or score in BY_FRAME:
        lags = {round(v, 9) for v in (*trained.values(), *(v for v in (of_pairs, lag) if v is not None))}
        if len(lags) > 1:
            each = ", ".join(f"{name}: {t:g}" for name, t in trained.items())
            others = lags - ({round(lag, 9)} if lag is not None else set())
            if lag is not None and len(others) == 1:
                raise ConfigError(f"score={score!r} is at the lag of the training, {others.pop():g}: leave lag= out")
            rest = "fit them at one lag, or compare their modes: score='vampe' and one lag="
            rest = rest if score in BY_FRAME else "give one lag= to compare them at, the longest, say"
            raise ConfigError(f"scores at different lags are of different things (trained at {each}); {rest}")
        pairs = any(by_pairs(score, _model(fit)) for fits in candidates.values() for fit in fits)
        if lag is not None and score in BY_FRAME and not pairs and not trained:
            raise ConfigError(f"score={score!r} of these has no lag, got lag={lag!r}")
        lag = next(iter(lags), None)
    if lag is None and score != "log_score":
        raise ConfigError(f"score={score!r} needs a lag: none of those compared has one of its own")
    return lag


def _lag_of(model: Any, on: Frames | Pairs | Stretches) -> float | None:
    """Between what a model learns from: its own lag, or that of the stretches that it makes of frames."""
    lag = getattr(model, "lag", None)
    if lag is None and isinstance(on, Frames) and isinstance(model, Model) and not model.needs_pairs:
        return getattr(model.rows(on), "lag", None)  # of frames themselves there is none
    return lag


def _check_densities(candidates: Mapping[str, Sequence[Any]], frames: Frames, refitted: bool) -> None:
    """Refuse log densities that live on different spaces, and what is no log density."""
    spaces, each = {}, {}
    for name, fit in ((name, fit) for name, fits in candidates.items() for fit in fits):
        model = _model(fit)
        pairs = bool(getattr(model, "needs_pairs", False))
        density = model.pair_density if pairs else getattr(model, "density_of", None)
        if not isinstance(fit, (Fit, Model) if refitted else Fit) or density is None or not model.needs_frames:
            if isinstance(fit, Model) and density is not None:
                raise ConfigError(f"{name}: this {type(model).__name__} is not trained: give fits, or folds=")
            raise ConfigError(
                f"{name}: {type(model).__name__} has no density of frames or pairs, hence no log score; compare its "
                "functions by vampe or vamp2, a potential by forces, what learned from energies by log_z"
            )
        features = getattr(model, "features", None)
        of, space = "coordinates", ""
        if features is not None:
            of, space = f"{type(features).__name__} of {features.size} numbers", repr(features.config())
        if density == "equilibrium":
            of = space = density
        if density == "features" and not pairs and getattr(model, "conformations", False):
            of = space = "conformations"
        if density == "variable":
            values = model.inputs(torch.as_tensor(frames.gather(evenly(frames, _LOOKED_AT)))).double()
            of = space = f"a variable of mean {values.mean():.4g} and deviation {values.std():.4g}"
        what = getattr(model, "evidence", "labels") if model.conditional and not pairs else ""
        if not pairs and density != "features":
            what = density
        spaces[name] = (pairs, what, space, getattr(model, "rank", None) if density == "features" else None)
        each[name] = f"{what or ('pairs' if pairs else 'frames')} by {of}"
    if len(set(spaces.values())) > 1:
        listed = ", ".join(f"{name}: {space}" for name, space in each.items())
        listed += ", of other settings" if len(set(each.values())) == 1 else ""
        way = ""
        if any(space == "conformations" for _, _, space, _ in spaces.values()):
            way = "; conformations are what features=bcg.features.unbounded_coordinates(frames) are the coordinates of"
        raise ConfigError(
            f"log densities of different spaces cannot be compared ({listed}){way}; what both predict of an observable "
            "can, see bcg.analysis.checklist, and functions of slow modes by vampe"
        )


def _check_able(candidates: Mapping[str, Sequence[Any]], score: str) -> None:
    """Refuse what says nothing of where shots end, or is no map of a step."""
    for name, fit in ((name, fit) for name, fits in candidates.items() for fit in fits):
        model = _model(fit)
        able = isinstance(model, HasMap) if score == "steps" else getattr(model, "logits", None) and model.fixed_cvs
        if not isinstance(model, Model) or not able:
            what = "no map of a time step" if score == "steps" else "no probabilities of commitment"
            raise ConfigError(f"{name}: {type(model).__name__} has {what}, hence no score {score!r}")


def _check_forces(candidates: Mapping[str, Sequence[Any]], frames: Frames) -> None:
    if frames.forces is None:
        raise DataError(
            "the frames have no forces to compare with: bcg.sampling.mapped_forces(frames, system, mapping) maps those "
            "of the atoms"
        )
    for name, fit in ((name, fit) for name, fits in candidates.items() for fit in fits):
        if not isinstance(fit, System) and not isinstance(_model(fit), HasPotential):
            raise ConfigError(f"{name}: {type(_model(fit)).__name__} has no potential, hence no forces to score")
        dim = getattr(_model(fit), "dim", None)
        if dim is not None and dim != frames.dim:
            raise ConfigError(
                f"{name} is a potential of {dim} coordinates, and the frames have {frames.dim}: forces of other beads "
                "are of different things"
            )


def _model(fit: Any) -> Any:
    return fit.model if isinstance(fit, Fit) else fit


def _warnings(trained_on: list[str], memory: float, blocks: int) -> list[str]:
    warnings = [
        f"{name} was trained on some of these frames: its score is too good; hold some out" for name in trained_on
    ]
    if _LONGER * memory * blocks > 1:
        warnings.append(
            f"the {blocks} blocks are shorter than {_LONGER} times what the frames remember: standard errors are too "
            f"small; use at most {max(2, int(1 / (_LONGER * memory)))} blocks, or longer trajectories"
        )
    return warnings
