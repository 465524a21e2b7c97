"""`map`: many runs, on this machine or on a cluster, each of them once."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bayescg.arguments import check_counts
from bayescg.errors import ConfigError, RunError
from bayescg.experiments.many.jobs import Job, Outcome, finished, name_of, plain, takes_run_dir
from bayescg.experiments.schema import Experiment
from bayescg.progress import Bar
from bayescg.stopping import stoppable

__all__ = ["map"]

_ARGUMENTS = ("seed", "device", "quick")


def map(
    run: Callable[..., Any] | str | Path,
    settings: Iterable[Mapping[str, Any]],
    cluster: Any = None,
    *,
    out: str | Path | None = None,
    workers: int | None = None,
    retries: int = 3,
    progress: bool | None = None,
) -> list[Any]:
    """Run the same thing with many settings, side by side, and return the results in the order of the settings.

    What one types first::

        def run(seed, run_dir):
            fit = bcg.fit(PredictiveCV(features), frames, seed=seed, run_dir=run_dir)
            return bcg.analysis.free_energy(fit, frames).difference((0, 1), (1, 2)).mean

        results = bcg.experiments.map(run, [{"seed": s} for s in range(20)])

    Each run gets a process that works at nothing else meanwhile. One that dies, of a full memory or a machine that
    goes down, costs its own run a retry and the others nothing. A run that has a directory goes on there from its
    last checkpoint, to the numbers of an undisturbed run, and one that is finished there is not run again. So the same
    call goes on after an interruption, and after mending what made some of the runs fail.

    Parameters
    ----------
    run : callable, str or path
        A function that is called with each of the settings as keywords. Where it has a parameter ``run_dir``, it is
        given a directory (a Path) of this run alone, for ``bcg.fit(..., run_dir=run_dir)``. Its result may be anything
        that can be pickled; what JSON holds exactly (numbers, strings, lists, dicts) is also kept in the directory. A
        run whose result is not kept is called again by the same call, and a fit is then not trained again.

        Or the name of an experiment, or the path of its TOML file: results are what ``summary.json`` holds.
    settings : iterable of mapping
        Of each run. For an experiment: ``seed``, ``device``, ``quick``, and sections' keys as ``--set`` has them, such
        as ``{"seed": 3, "fit.steps": 1000}``.
    cluster : str, optional
        Address of a Dask scheduler, such as ``"tcp://10.0.0.1:8786"``, or a cluster object of dask-jobqueue,
        dask-kubernetes or `distributed`. Its workers need bayescg and `out` under the same path; start them with one
        thread, as each runs one thing at a time. None: processes of this machine, which share its cores.
    out : path, optional
        Where runs have their directories. None: ``runs/NAME-sweep`` for an experiment, a new directory below ``runs``
        for a callable with ``run_dir``; other callables then have no directory, and nothing is written. A changed
        function is not noticed: give it another `out`.
    workers : int, optional
        Processes on this machine; None: as many as cores, for an experiment divided by ``simulation.processes``. On a
        single GPU give 1.
    retries : int
        How often a run whose worker died is begun again. A Dask scheduler may allow more by its own
        ``distributed.scheduler.allowed-failures``.
    progress : bool, optional
        Show a progress bar; None: in a terminal.

    Returns
    -------
    list
        One result for each of the settings.

    Raises
    ------
    ConfigError
        An unknown key or experiment, settings given twice, something that cannot be sent to another process, a
        scheduler that does not answer, Dask not being installed. Nothing was run.
    OutputError
        `out` holds something else.
    RunError
        Some runs failed, after all others were finished: an exception is not retried. Its `results` are those of the
        others.
    Interrupted
        SIGINT or SIGTERM; local workers wrote their checkpoints and ended. A cluster's workers finish what they began.

    Notes
    -----
    Numbers do not depend on which worker ran what; on machines of different kinds they are equal up to rounding.
    Functions and results travel to and from workers by pickle, as `multiprocessing` and Dask do it; none is on a disk.

    Examples
    --------
    >>> map(dict, [{"seed": s} for s in range(3)], workers=1)
    [{'seed': 0}, {'seed': 1}, {'seed': 2}]
    """
    check_counts(workers=(1 if workers is None else workers, 1), retries=(retries, 0))
    keywords = [dict(s) for s in settings]
    jobs, where = _callables(run, keywords, out) if callable(run) else _experiments(run, keywords, out)
    outcomes = {job.number: outcome for job in jobs if (outcome := finished(job))}
    todo = [job for job in jobs if job.number not in outcomes]
    if todo:
        with (
            stoppable(lambda: _advice(where)),
            _Tally(len(jobs), len(outcomes), progress) as bar,
            closing(_dispatch(todo, cluster, workers, retries, bar.retried)) as arriving,
        ):
            for job, outcome in arriving:
                outcomes[job.number] = outcome
                bar.done(bool(outcome.error))
    return _results(jobs, outcomes, where)


class _Tally(Bar):
    """A progress bar of runs, with how many failed and how many were begun again."""

    def __init__(self, runs: int, done: int, show: bool | None):
        super().__init__("runs", runs, done, show)
        self._runs, self._done = runs, done
        self._count = {"failed": 0, "begun again": 0}

    def done(self, failed: bool) -> None:
        self._done += 1
        self._count["failed"] += failed
        self._describe()

    def retried(self) -> None:
        self._count["begun again"] += 1
        self._describe()

    def _describe(self) -> None:
        bad = [f"{count} {what}" for what, count in self._count.items() if count]
        self.update(self._done, ", ".join([f"{self._done} of {self._runs}", *bad]))


def _callables(
    run: Callable[..., Any], settings: Sequence[dict[str, Any]], out: str | Path | None
) -> tuple[list[Job], Path | None]:
    """Jobs that call a function, with the directory of all of them."""
    name = getattr(run, "__name__", type(run).__name__)
    directory = {"run_dir": ...} if takes_run_dir(run) else {}
    for keywords in settings:
        if "run_dir" in keywords:
            raise ConfigError(
                f"settings {keywords}: run_dir is not a setting; give out=, below which each run has its own"
            )
        try:
            signature = inspect.signature(run)
        except (TypeError, ValueError):  # some of C have none
            break
        try:
            signature.bind(**keywords, **directory)
        except TypeError as error:
            raise ConfigError(f"settings {keywords}: {name}{signature} cannot be called with them: {error}") from error
    if out is None and not directory:
        return [Job(i, keywords, run, None) for i, keywords in enumerate(settings)], None
    where = Path(out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()
    return [Job(i, keywords, run, d) for i, keywords, d in _directories(settings, where)], where


def _experiments(
    name: str | Path, settings: Sequence[dict[str, Any]], out: str | Path | None
) -> tuple[list[Job], Path]:
    """Jobs that run an experiment, all of them checked."""
    from bayescg.experiments.settings import load, toml_value

    experiments: list[Experiment] = []
    for keywords in settings:
        arguments = {k: v for k, v in keywords.items() if k in _ARGUMENTS}
        changes = [f"{k}={toml_value(v)}" for k, v in keywords.items() if k not in _ARGUMENTS]
        experiments.append(load(name, changes=changes, **arguments))
    from bayescg.experiments import build  # it imports torch, which a misspelt key does not have to wait for

    for experiment in experiments:
        build.check(experiment)
    title = experiments[0].experiment.name if experiments else Path(name).stem
    where = Path(out or Path("runs") / f"{title}-sweep").absolute()
    return [Job(i, keywords, experiments[i], d) for i, keywords, d in _directories(settings, where)], where


def _directories(settings: Sequence[dict[str, Any]], where: Path) -> Iterator[tuple[int, dict[str, Any], Path]]:
    names: dict[str, int] = {}
    for i, keywords in enumerate(settings):
        try:
            name = name_of(plain(keywords))
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"settings {keywords} cannot name a run's directory ({error}): give numbers, strings, lists of them"
            ) from error
        if names.setdefault(name, i) != i:
            raise ConfigError(f"settings {names[name]} and {i} are the same, {keywords}: a run is run once")
        yield i, keywords, where / name


def _dispatch(
    jobs: Sequence[Job], cluster: Any, workers: int | None, retries: int, retried: Callable[[], None]
) -> Generator[tuple[Job, Outcome]]:
    if cluster is not None:
        from bayescg.experiments.many.cluster import on_cluster

        return on_cluster(jobs, cluster, retries, retried)
    from bayescg.experiments.many.pool import cores, in_processes, refuse_unsendable

    run = jobs[0].run
    if not isinstance(run, Experiment):
        refuse_unsendable(run, [job.settings for job in jobs])
    busy = run.simulation.processes if isinstance(run, Experiment) and run.simulation else 1
    return in_processes(jobs, workers or max(1, cores() // busy), retries, retried)


def _results(jobs: Sequence[Job], outcomes: Mapping[int, Outcome], where: Path | None) -> list[Any]:
    results = [outcomes[job.number].result for job in jobs]
    failed = [job for job in jobs if outcomes[job.number].error]
    if not failed:
        return results
    lines = [f"{_text(job.settings)}: {outcomes[job.number].error}" for job in failed[:10]]
    lines += [f"and {len(failed) - 10} more"] if len(failed) > 10 else []
    rest = "results of the others are in this error's `results`"
    if isinstance(failed[0].run, Experiment):
        rest = f"the others are in {where}, and the same again runs only what failed"
    title = f"{len(failed)} of {len(jobs)} runs failed; {rest}"
    raise RunError(
        "\n  ".join([title, *lines]),
        results,
        [
            {"settings": dict(job.settings), "error": outcome.error, "traceback": outcome.traceback}
            for job in failed
            for outcome in (outcomes[job.number],)
        ],
    )


def _advice(where: Path | None) -> str:
    if where is None:
        return "Nothing was kept: with out=, a directory, finished runs would be."
    return f"What was done is kept in {where}: the same again, with that as out, goes on."


def _text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items()) or "no settings"
