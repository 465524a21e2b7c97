"""`checklist`: distributions of observables, pair distances, energies and timescales, each seen against predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2
from torch import Tensor

from bayescg.analysis.block_bootstrap import block_ids, in_time, inefficiency, weights_of
from bayescg.analysis.criticism.checklist_table import Check, Checklist
from bayescg.analysis.criticism.smooth_test import components, pit, smooth_test
from bayescg.analysis.evaluation import evaluate, label, moments, named_observables, unit_of
from bayescg.analysis.fit_checks import check_question, was_trained_on
from bayescg.analysis.kinetics.chapman_kolmogorov import chapman_kolmogorov
from bayescg.arguments import check_counts, check_numbers
from bayescg.data import Frames, seen_by_blocks
from bayescg.errors import BayescgError, ConfigError, DataError
from bayescg.inference import Fit, fit
from bayescg.modelling import HasBasis, Model

__all__ = ["checklist", "dynamics", "functions_of"]

_ORDER, _JOINT = 4, 3
_FEWEST, _LEAST_WORTH = 10, 20
_MOST_PAIRS, _BATCHES = 5000, 10
_MULTIPLES = (1, 2, 3, 4, 5)


def checklist(
    subject: Any,
    frames: Frames,
    observables: Sequence[str | Callable[..., Any]] | str | Callable[..., Any] | None = None,
    *,
    system: Any = None,
    folds: int | None = None,
    modes: int = 1,
    level: float = 0.01,
    samples: int = 2000,
    draws: int | None = None,
    seed: int = 0,
    **training: Any,
) -> Checklist:
    r"""Check a model against frames, in one table that passes or fails.

    Each p-value says how often frames of the model would look as different from what it predicts, and is uniform where
    the model is right: correlated frames count as the blocks of them scatter, and draws of the parameters and the
    finite number of generated configurations as far as they do. The checks:

    - the **distribution** of each observable and torsion, and of the energy where `system` is given: the part of the
      predictions that lies below each frame's value (PIT) is uniform, by its average, spread, skewness and tails;
    - **pair distances**, of molecules, or all coordinates: the same of their leading principal components together, so
      that what observables do one by one is not all that is looked at;
    - **dynamics**, of fits with functions of slow modes: whether their correlations at a lag say those at up to five
      times it (:func:`bayescg.analysis.chapman_kolmogorov`).

    Parameters
    ----------
    subject : Fit or Model
        With `folds` it is trained anew on all other folds of the frames for each (LOO-PIT by blocks).
    frames : Frames
        That the fit was not trained on; with `folds`, all there are.
    observables : sequence of str or callable, or one of these, optional
        As of :func:`bayescg.analysis.predictive_check`, with the same reference of ``"rmsd"``. None: radius of
        gyration, RMSD, end-to-end distance, phi and psi of a molecule where it has them; the first three coordinates of
        other frames.
    system : System, optional
        Whose energies are an observable, too.
    folds : int, optional
        Of a cross-validation, 2 or more.
    modes : int
        Slow modes whose correlations are checked.
    level : float
        Chance that any check of a right model fails.
    samples : int
        Configurations generated for each draw of the parameters.
    draws : int, optional
        Draws of the parameters; None: every refit once, else 200.
    seed : int
    **training
        Of folds, arguments of :func:`bayescg.fit`, over those that a fit was made with.

    Returns
    -------
    Checklist
        `rows`, `failed`, `passed`; and `warnings`, where the fit was trained on some of the frames. Averages of angles
        are circular.

    Raises
    ------
    ConfigError
        An argument out of range, or a model that is not trained without `folds`.
    DataError
        Fewer than 10 frames, or they are worth too few independent ones for anything to be checked; what a part of the
        observables needs and has not is in `skipped`.
    ModelError
        The model generates no configurations and has no slow modes.

    References
    ----------
    A. Gelman, X.-L. Meng, H. Stern, Statist. Sinica 6, 733 (1996); A. P. Dawid, J. R. Stat. Soc. A 147, 278 (1984),
    for the PIT.

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import PredictiveCV
    >>> model, frames, _ = PredictiveCV.example()
    >>> checks = checklist(bcg.fit(model, frames, steps=20, uncertainty="none", seed=0), frames, samples=500)
    >>> [row.name for row in checks.rows]
    ['x1', 'x2', 'x3', 'all coordinates']
    """
    check_question(frames, modes=(modes, 1), samples=(samples, 100), seed=(seed, 0))
    check_numbers(level=(level, "(0, 1)"))
    if len(frames) < _FEWEST:
        raise DataError(f"{len(frames)} frames are too few for checks: at least {_FEWEST} are needed")
    parts = _trained(subject, frames, folds, training, seed)
    trained = parts[0][0]
    skipped: list[str] = []
    rows: list[Check] = []
    warnings = ()
    if folds is None and was_trained_on(trained, frames):
        warnings = (
            "the fit was trained on some of these frames: its checks are too kind; hold some out, or give folds=",
        )
    try:
        predictions = [(of_part.generate(samples, draws, seed).cpu(), part) for of_part, part in parts]
    except BayescgError as error:
        if not isinstance(trained.model, HasBasis):
            raise
        skipped.append(f"not checked, the distribution of frames: {error}")
    else:
        if (size := predictions[0][0][0, 0].numel()) != frames.dim:
            raise DataError(f"the model generates {size} coordinates, and the frames have {frames.dim}")
        for function in functions_of(observables, trained, frames, system):
            try:
                rows.append(_one(function, predictions, frames))
            except _TooFewError as error:
                skipped.append(f"not checked, {label(function)}: {error}")
        try:
            joint = _joint(predictions, frames)
        except _TooFewError as error:
            skipped.append(f"not checked, all together: {error}")
        else:  # what is slow in one of them would hide among the others, and blocks be too short for it
            rows += [] if skipped else joint
            skipped += [f"not checked, {row.name}: as one of them" for row in joint if skipped]
    if isinstance(trained.model, HasBasis) and getattr(trained.model, "lag", None) is not None:
        rows += dynamics(trained, frames, modes, seed)
    if not rows:
        raise DataError("nothing can be checked: " + "; ".join(skipped))
    return Checklist(tuple(rows), level, tuple(skipped), warnings)


class _TooFewError(DataError):
    """What an observable remembers is too long for these frames."""


def _trained(
    subject: Any, frames: Frames, folds: int | None, training: dict[str, Any], seed: int
) -> list[tuple[Fit, Frames]]:
    """Fits, and the frames that each is to be checked with."""
    if folds is None:
        if not hasattr(subject, "generate"):
            raise ConfigError(f"a {type(subject).__name__} is not trained: give a fit, or folds=")
        if training:
            raise ConfigError(f"{', '.join(training)}: nothing is trained but with folds=")
        return [(subject, frames)]
    check_counts(folds=(folds, 2))
    model: Model = subject.model if isinstance(subject, Fit) else subject
    names = ("steps", "batch_size", "validation", "learning_rate", "uncertainty", "objective")
    settings = {name: subject.settings[name] for name in names} if isinstance(subject, Fit) else {}
    settings |= {"progress": False, "seed": seed, **training}
    fold = np.arange(len(frames)) * folds // len(frames)
    return [(fit(model, frames.subset(fold != k), **settings), frames.subset(fold == k)) for k in range(folds)]


def functions_of(observables: Any, trained: Any, frames: Frames, system: Any) -> list[Callable[..., Any]]:
    """Observables as functions: those that are named, or what frames of their kind have, and energies of a system.

    Raises
    ------
    DataError
        The frames are not of all coordinates of the system.
    """
    if observables is None:
        if frames.topology is not None:
            observables = ["rg", "rmsd", "end_to_end"]
            for kind in ("phi", "psi"):
                observables += [kind] if _has(kind, trained, frames) else []
        else:
            observables = [_Coordinate(k) for k in range(min(3, frames.dim))]
    functions = named_observables(observables, trained, frames)
    if system is None:
        return functions
    if frames.dim != system.dim:
        atoms, what = (3, "atoms") if frames.positions.ndim == 3 else (1, "coordinates")
        has, of = frames.dim // atoms, system.dim // atoms
        lack = f"lack {of - has} of the system's {of} {what}" if has < of else f"have {has} {what}, the system {of}"
        raise DataError(
            f"the frames {lack}, so that they have no energy: train on and check with frames of all its {what}, or "
            "leave out system="
        )
    return [*functions, _Energy(system)]


def _has(kind: str, trained: Any, frames: Frames) -> bool:
    try:
        return bool(named_observables([kind], trained, frames))
    except BayescgError:
        return False


class _Coordinate:
    unit = ""

    def __init__(self, index: int):
        self.index, self.name = index, f"x{index + 1}"

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, self.index]


class _Energy:
    name = "energy"

    def __init__(self, system: Any):
        self.system, self.unit = system, "kT"

    def __call__(self, x: Tensor) -> Tensor:
        return -self.system.log_prob(x.flatten(1))


Predictions = Sequence[tuple[Tensor, Frames]]
"""Generated configurations (draws, n, ...), and the frames that they are to be like."""


def _one(function: Callable[..., Any], predictions: Predictions, frames: Frames) -> Check:
    """The distribution of one observable."""
    scores, expected, predicted, values = [], [], [], []
    periodic = unit_of(function) == "rad"
    for generated, part in predictions:
        by_draw = _values(function, generated, part)
        observed = evaluate(function, part)
        scores.append(components(pit(observed, by_draw.ravel()), _ORDER))
        expected.append(_in_batches(by_draw, _ORDER))
        predicted.append(by_draw.ravel())
        values.append(observed)
    p = _p(np.concatenate(scores), expected[0], frames)
    observed = moments(np.concatenate(values), weights_of(frames), periodic)[0]
    foretold = np.concatenate(predicted)
    average = moments(foretold, np.ones(len(foretold)), periodic)[0]
    return Check(label(function), "distribution", float(observed), float(average), unit_of(function), p)


def _joint(predictions: Predictions, frames: Frames) -> list[Check]:
    """Distances of all pairs of atoms, or all coordinates: their leading principal components together."""
    molecular = frames.positions.ndim == 3
    read = _pair_distances if molecular else lambda x: x.flatten(1)
    name = "pair distances" if molecular else "all coordinates"
    if read(torch.as_tensor(frames.gather([0]))).shape[1] < 2:
        return []
    first = read(predictions[0][0][:, :200].flatten(0, 1)).double().numpy()
    mean, scale = first.mean(0), first.std(0) + 1e-12
    axes = np.linalg.svd((first - mean) / scale, full_matrices=False)[2][:_JOINT].T

    def projected(x: Any) -> np.ndarray:
        return ((read(torch.as_tensor(x)).double().numpy() - mean) / scale) @ axes

    scores, expected = [], []
    for generated, part in predictions:
        by_draw = np.stack([projected(x) for x in generated])
        observed = evaluate(projected, part)
        u, each = [], []
        for k in range(axes.shape[1]):
            u.append(components(pit(observed[:, k], by_draw[:, :, k].ravel()), 2))
            each.append(_in_batches(by_draw[:, :, k], 2))
        scores.append(np.concatenate(u, 1))
        expected.append(np.concatenate(each, 2))
    p = _p(np.concatenate(scores), expected[0], frames, axes.shape[1])
    return [Check(name, "joint", float("nan"), float("nan"), "", p)]


def _pair_distances(x: Tensor) -> Tensor:
    """Distances (n, pairs), at most some thousands of them."""
    i, j = torch.triu_indices(x.shape[1], x.shape[1], 1)
    every = max(1, len(i) // _MOST_PAIRS)
    return (x[:, i[::every]] - x[:, j[::every]]).norm(dim=-1)


def dynamics(subject: Any, frames: Frames, modes: int, seed: int, lag: float | None = None) -> list[Check]:
    """Correlations of slow modes at multiples of the lag, as measured and as that of the lag foretells."""
    test = chapman_kolmogorov(subject, frames, lag, multiples=_MULTIPLES, modes=modes, draws=400, seed=seed)
    rows = []
    for k in range(modes):
        at = {"from": k, "to": k, "lag": slice(2, None)}  # of lag 0 and the first the two are the same
        apart, foretold, measured = (a.isel(at).values for a in (test.difference, test.predicted, test.measured))
        mean, covariance = apart.mean(0), np.cov(apart.T)
        values, vectors = np.linalg.eigh(covariance)
        large = values > 1e-3 * values.max()  # neighbouring lags say nearly the same
        square = np.square((mean @ vectors)[large]) / values[large]
        p = float(chi2.sf(square.sum(), int(large.sum())))
        name = f"correlations of mode {k + 1}"
        rows.append(Check(name, "dynamics", float(measured.mean(0)[-1]), float(foretold.mean(0)[-1]), "", p))
    return rows


def _values(function: Callable[..., Any], generated: Tensor, frames: Frames) -> np.ndarray:
    """Of generated configurations, (draws, n)."""
    flat = generated.flatten(0, 1).reshape(-1, *frames.positions.shape[1:])
    values = np.asarray(torch.as_tensor(function(flat)).detach().cpu(), np.float64)
    if values.shape != (len(flat),):
        raise DataError(
            f"{label(function)} gave shape {values.shape} for {len(flat)} configurations, not one value each"
        )
    finite = np.nan_to_num(values, nan=np.inf)  # where a configuration cannot be, its energy is high
    return finite.reshape(generated.shape[:2])


def _in_batches(by_draw: np.ndarray, order: int) -> np.ndarray:
    """Mean scores of batches of what each draw generates, (draws, batches, order), by the values of all together."""
    u = pit(by_draw.ravel(), by_draw.ravel()).reshape(by_draw.shape)
    whole = by_draw.shape[1] // _BATCHES * _BATCHES
    return components(u[:, :whole], order).reshape(len(u), _BATCHES, -1, order).mean(2)


def _p(scores: np.ndarray, expected: np.ndarray, frames: Frames, apart: int = 1) -> float:
    """Of scores of so many observables, in order: the one that remembers longest decides what frames are worth."""
    frames = in_time(scores, frames)
    parts = np.split(scores, apart, axis=1)
    g = max(inefficiency(part, frames, (False,) * part.shape[1]) for part in parts)
    blocks = block_ids(frames, g)
    count = int(blocks.max()) + 1
    if len(frames) < _LEAST_WORTH * g:
        raise _TooFewError(
            f"{len(frames)} frames are worth {len(frames) / g:.2g} independent ones, too few for a check: "
            f"{_LEAST_WORTH} are needed; give longer trajectories"
        )
    size = min(scores.shape[1], count // 2)
    shown = seen_by_blocks(g, len(frames) / count)
    return smooth_test(scores[:, :size], weights_of(frames), blocks, shown, expected[:, :, :size])
