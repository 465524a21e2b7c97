"""Finished runs beside each other: which of their models describes the frames best, or the system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescg.analysis import compare, score_of
from bayescg.analysis.comparing.compare import ALL_SCORES
from bayescg.arguments import check_choice
from bayescg.errors import ConfigError, OutputError
from bayescg.experiments import directory
from bayescg.experiments.recipes import recipe_of
from bayescg.experiments.recipes.recipe import OneFit
from bayescg.report import QUICK_RUN

if TYPE_CHECKING:
    from bayescg.analysis import Comparison
    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment
    from bayescg.questions import Context

__all__ = ["compare_runs"]


def compare_runs(
    paths: Sequence[str | Path], score: str | None = None, folds: int | None = None, **more: Any
) -> Comparison:
    """Compare the models of finished runs of the same frames, or of the same system without frames.

    Runs of the same settings but for their seeds are trainings of one model, whose spread is in the errors, and stand
    in one row; with `folds` one of them is enough, for all are trained anew.

    Parameters
    ----------
    paths : sequence of path
        Directories of runs.
    score : str, optional
        Of :func:`bayescg.analysis.compare`; None: the sharpest that all have.
    folds : int, optional
        Of a cross-validation over all frames; None: on those that the runs held out.
    **more
        Further arguments of :func:`bayescg.analysis.compare`.

    Raises
    ------
    OutputError
        A directory that holds no finished run.
    ConfigError
        A study of several methods; runs of other frames, or whose models have no score in common; one run, one run
        twice, or runs of one model.
    """
    if score is not None:
        check_choice(score=(score, ALL_SCORES))
    folders = [path.resolve() for path in map(Path, paths)]
    if len(set(folders)) < max(2, len(folders)):
        raise ConfigError("give at least two runs to compare, each once")
    experiments = {path: directory.read_experiment(path) for path in map(Path, paths)}
    for path in experiments:
        if not directory.is_finished(path):
            raise OutputError(f"the run in {path} is not finished; go on with it first: bayescg resume {path}")
    contexts = {path: _context(path, experiment) for path, experiment in experiments.items()}
    groups: dict[str, list[Path]] = {}
    for path, experiment in experiments.items():
        alike = [
            name
            for name, members in groups.items()
            if _but_for_seed(experiments[members[0]]) == _but_for_seed(experiment)
        ]
        groups.setdefault(alike[0] if alike else str(path), []).append(path)
    if len(groups) == 1:
        raise ConfigError(f"{', '.join(map(str, paths))} are runs of one model, with other seeds: nothing to compare")
    score = score or score_of([context.fit.model for context in contexts.values()])
    fits = {" + ".join(map(str, members)): [contexts[path].fit for path in members] for members in groups.values()}
    quick = any(experiment.run.quick for experiment in experiments.values())
    if score == "log_z":
        return _said(compare(fits, score=score, folds=folds, **more), quick)
    if without := [path for path, context in contexts.items() if not context.fit.model.needs_frames]:
        raise ConfigError(f"the run in {without[0]} learned without frames, and has no {score}: compare it by log_z")
    on = _common(contexts, held_out=folds is None)
    if folds is not None:
        fits = {name: each[:1] for name, each in fits.items()}
        lags = {experiment.data.lag for experiment in experiments.values()}
        if more.get("lag") is None and len(lags) == 1:
            more["lag"] = lags.pop()
        more["folds"] = folds
    return _said(compare(fits, on, score, **more), quick)


def _said(table: Comparison, quick: bool) -> Comparison:
    return replace(table, warnings=(QUICK_RUN, *table.warnings)) if quick else table


def _context(path: Path, experiment: Experiment) -> Context:
    """What the questions of a run were asked of; nothing of it is made again."""
    recipe = recipe_of(experiment)(experiment, path)
    if not isinstance(recipe, OneFit):
        raise ConfigError(f"{path} holds a study of several methods, which are compared in its report.html")
    for _, _, work in recipe.stages():
        work()
    return recipe.context()


def _but_for_seed(experiment: Experiment) -> dict[str, Any]:
    settings = experiment.model_dump()
    return {**settings, "run": {}, "experiment": {}}


def _common(contexts: dict[Path, Context], held_out: bool) -> Frames:
    """The frames of all runs, or those that all have held out."""
    each = {path: c.test if held_out else c.frames for path, c in contexts.items()}
    first, frames = next(iter(each.items()))
    if frames is None:
        raise ConfigError(f"the run in {first} held out no frames: compare with --folds")
    print_of_first = frames.fingerprint()
    for path, others in each.items():
        if others is None or others.fingerprint() != print_of_first:
            what = "held out other frames" if held_out else "has other frames"
            remedy = "give both one seed, or compare with --folds 5" if held_out else "give both one seed"
            raise ConfigError(f"the run in {path} {what} than that in {first}: {remedy}")
    return frames
