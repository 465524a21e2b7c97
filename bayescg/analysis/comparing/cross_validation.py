"""Cross-validation over contiguous folds: every candidate is trained anew on all other folds, and scored on each."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bayescg.analysis.comparing.block_scores import BY_FRAME, BlockScores, by_pairs, in_blocks, trajectory_of
from bayescg.analysis.kinetics.scores import score_of_fold
from bayescg.arguments import did_you_mean
from bayescg.data import Frames, Pairs, Stretches
from bayescg.errors import ConfigError, DataError
from bayescg.inference import Fit, fit
from bayescg.inference.run import TRAINING
from bayescg.many.dispatch import calls, carry_out
from bayescg.modelling import Model
from bayescg.modelling.model import fresh_copy

__all__ = ["cross_validated", "refit_settings"]

_FEWEST = 3
_POINT = ("laplace", "ensemble", "bootstrap")
"""Uncertainties beside the trained values, which alone are scored."""
_SETTINGS = ("steps", "batch_size", "validation", "learning_rate", "clip", "objective", "particles", "uncertainty")


def cross_validated(
    candidates: Mapping[str, Any],
    frames: Frames,
    score: str,
    *,
    lag: float | None,
    modes: Mapping[str, int | None],
    diffusion: Any,
    folds: int,
    restarts: int,
    seed: int,
    training: Mapping[str, Any],
    out: str | Path | None,
    **how: Any,
) -> BlockScores:
    """Scores of each fold by fits that have not seen it; the arguments are those of `compare`.

    A fold is one contiguous part of the frames, so that few of them have neighbours in time among those of the
    training.

    Raises
    ------
    ConfigError
        A candidate is no model, or the folds are too few.
    DataError
        Some fold holds no frame, or no pair.
    """
    if folds < _FEWEST:
        raise ConfigError(f"folds={folds}: at least {_FEWEST} are needed for an error of what they say")
    if len(frames) < 2 * folds:
        raise DataError(f"{len(frames)} frames are too few for {folds} folds; give more frames, or fewer folds")
    for name, candidate in candidates.items():
        if not isinstance(candidate, Fit | Model) or not _model(candidate).needs_frames:
            raise ConfigError(
                f"{name}: a {type(candidate).__name__} is not trained on frames, so that there is nothing to refit; "
                "leave folds= out"
            )
    accepted = inspect.signature(fit).parameters
    if unknown := [name for name in training if name not in accepted]:
        near = did_you_mean(unknown[0], accepted)
        raise ConfigError(f"{unknown[0]} is neither an argument of compare nor of bcg.fit, {near}see help(bcg.fit)")
    fold = np.arange(len(frames)) * folds // len(frames)
    refit = _Refit(dict(candidates), frames, fold, score, lag, dict(modes), diffusion, seed, dict(training))
    settings = [
        {"candidate": name, "fold": k, "restart": r}
        for name in candidates
        for k in range(folds)
        for r in range(restarts)
    ]
    refit.check(folds)
    jobs, where = calls(refit, settings, out)
    results = carry_out(jobs, where, **how)
    values = iter(results)
    parts = {
        name: [[np.asarray(next(values)[0]) for _ in range(restarts)] for _ in range(folds)] for name in candidates
    }
    warnings = [
        _unconverged(
            name, [result[1] for job, result in zip(settings, results, strict=True) if job["candidate"] == name]
        )
        for name in candidates
    ]
    warnings = [warning for warning in (*warnings, _otherwise_trained(candidates, training)) if warning]
    falls = {
        name: [r[2][0] for job, r in zip(settings, results, strict=True) if job["candidate"] == name]
        for name in candidates
    }
    unfinished = {name: float(np.mean(each)) for name, each in falls.items()} if score == "log_score" else {}
    if score in BY_FRAME:
        series = {name: np.concatenate([np.stack(each) for each in by_fold], 1) for name, by_fold in parts.items()}
        data = [refit.held_out(next(iter(candidates)), k) for k in range(folds)]
        numbers = np.repeat(np.arange(folds), list(map(len, data)))
        paths = [trajectory_of(part) for part in data]
        apart = [path + k * (int(path.max()) + 1) for k, path in enumerate(paths) if path is not None]
        weight = None if frames.weights is None else frames.weights
        scores = in_blocks(series, np.concatenate(apart) if apart else None, weight, fold=numbers)
        if score == "log_score":
            scores.densities.update({name: _mixture(rows) for name, rows in series.items()})
        return replace(scores, warnings=warnings, unfinished=unfinished)
    of = {name: np.array([[value[0] for value in each] for each in by_fold]).T for name, by_fold in parts.items()}
    memory = max(float(value[1]) for by_fold in parts.values() for each in by_fold for value in each)
    return BlockScores(of, memory, warnings=warnings)


def _otherwise_trained(candidates: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """What to say of a fit, trained again as it was, among models that their defaults train in another way."""
    if all(isinstance(candidate, Fit) for candidate in candidates.values()):
        return ""
    for name, candidate in candidates.items():
        if isinstance(candidate, Fit):
            usual = {**TRAINING, **candidate.model.training_defaults}
            ways = {k: candidate.settings[k] for k in TRAINING if k not in training}
            if other := ", ".join(f"{k}={v:g}" for k, v in ways.items() if v != usual[k]):
                return f"{name} is a fit, and trained again as it was, models by their defaults: give {other} for all"
    return ""


def _unconverged(name: str, said: Sequence[Sequence[str]]) -> str:
    """What the trainings of a candidate say of their convergence, each a few sentences or none."""
    some = [sentences[0] for sentences in said if sentences]
    if not some:
        return ""
    return f"{name}: {len(some)} of {len(said)} trainings have not converged, and another may score better ({some[0]})"


def refit_settings(candidate: Fit | Model, training: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `bayescg.fit`: those of a fit, and over them what is given.

    Only trained values are scored: what comes beside them, as refits of an ensemble do, is not trained again.
    """
    before = {k: candidate.settings[k] for k in _SETTINGS} if isinstance(candidate, Fit) else {}
    settings = {**before, **training}
    uncertainty = settings.get("uncertainty") or _model(candidate).uncertainty
    return settings | {"uncertainty": "none" if uncertainty in _POINT else uncertainty, "progress": False}


@dataclass(frozen=True)
class _Refit:
    """One training on all folds but one, and the scores of that."""

    candidates: dict[str, Any]
    frames: Frames
    fold: np.ndarray
    score: str
    lag: float | None
    modes: dict[str, int | None]
    diffusion: Any
    seed: int
    training: dict[str, Any]

    def check(self, folds: int) -> None:
        """Refuse frames that some candidate cannot learn from, or be judged by, before anything is trained."""
        for name, candidate in self.candidates.items():
            model = _model(candidate)
            self.frames.lagged(self._lag(name)) if model.needs_pairs else model.rows(self.frames)
        for k in range(folds):
            if self.score in BY_FRAME:
                self.held_out(next(iter(self.candidates)), k)
            elif self.lag is not None:
                self.frames.subset(self.fold == k).lagged(self.lag)

    def __call__(self, candidate: str, fold: int, restart: int) -> list[Sequence[Any]]:
        subject = self.candidates[candidate]
        number = list(self.candidates).index(candidate)
        seed = int(np.random.SeedSequence([self.seed, number, fold, restart]).generate_state(1)[0] // 2)
        train = self.frames.subset(self.fold != fold)
        settings = refit_settings(subject, self.training)
        model = fresh_copy(_model(subject))
        data, whole = train, self.frames
        if model.needs_pairs:
            data, whole = (part.lagged(self._lag(candidate)) for part in (train, self.frames))
        model.span(whole)
        trained = fit(model, data, **{**settings, "seed": seed})
        said = trained.diagnostics
        return [self._scores(trained, train, candidate, fold), said["convergence"], [said["still_fell"]]]

    def _scores(self, trained: Fit, train: Frames, candidate: str, fold: int) -> Sequence[float]:
        if self.score in BY_FRAME:
            return BY_FRAME[self.score](trained, self.held_out(next(iter(self.candidates)), fold)).tolist()
        test = self.frames.subset(self.fold == fold)
        return score_of_fold(trained, train, test, self.score, self.lag, self.diffusion, self.modes[candidate])

    def held_out(self, candidate: str, fold: int) -> Frames | Pairs | Stretches:
        """What a fold holds of what the candidate is a density of."""
        test, model = self.frames.subset(self.fold == fold), _model(self.candidates[candidate])
        if by_pairs(self.score, model):
            return test.lagged(self._lag(candidate))
        return model.rows(test) if self.score == "log_score" else test

    def _lag(self, candidate: str) -> float:
        lag = getattr(_model(self.candidates[candidate]), "lag", None) or self.lag
        if lag is None:
            raise ConfigError(f"{candidate} learns from pairs of frames a lag time apart: give lag=")
        return lag


def _model(candidate: Any) -> Any:
    return candidate.model if isinstance(candidate, Fit) else candidate


def _mixture(rows: np.ndarray) -> np.ndarray:
    return np.logaddexp.reduce(rows, axis=0) - np.log(len(rows))
