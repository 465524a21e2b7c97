"""Jobs carried out side by side, each of them once, and what a function is to be called with made into jobs."""

from __future__ import annotations

import inspect
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bayescg.arguments import check_counts
from bayescg.errors import ConfigError, Interrupted, RunError
from bayescg.many.jobs import Job, Outcome, Task, attempt, finished, name_of, plain, takes_run_dir
from bayescg.progress import Bar
from bayescg.stopping import stoppable

__all__ = ["calls", "carry_out", "directories"]


def carry_out(
    jobs: Sequence[Job],
    where: Path | None,
    cluster: Any = None,
    *,
    workers: int | None = None,
    retries: int = 3,
    progress: bool | None = None,
) -> list[Any]:
    """Results of jobs, in their order; the parameters are those of :func:`bayescg.experiments.map`.

    Parameters
    ----------
    jobs : sequence of Job
        All of the same kind.
    where : Path or None
        Below which they have their directories, for messages.

    Raises
    ------
    ConfigError, OutputError, RunError, Interrupted
        As :func:`bayescg.experiments.map`.
    """
    check_counts(workers=(workers or 0, 0), retries=(retries, 0))
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


def calls(
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
    return [Job(i, keywords, run, d) for i, keywords, d in directories(settings, where)], where


def directories(settings: Sequence[dict[str, Any]], where: Path) -> Iterator[tuple[int, dict[str, Any], Path]]:
    """Number, settings and directory of each of many runs, named by its settings.

    Raises
    ------
    ConfigError
        Settings that cannot name a directory, or twice the same.
    """
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
        from bayescg.many.cluster import on_cluster

        return on_cluster(jobs, cluster, retries, retried)
    if workers == 0:
        return _one_by_one(jobs)
    from bayescg.many.pool import cores, in_processes, refuse_unsendable

    run = jobs[0].run
    if isinstance(run, Task):
        return in_processes(jobs, workers or max(1, cores() // run.processes), retries, retried)
    refuse_unsendable(run, [job.settings for job in jobs])
    return in_processes(jobs, workers or cores(), retries, retried)


def _one_by_one(jobs: Sequence[Job]) -> Generator[tuple[Job, Outcome]]:
    for job in jobs:
        outcome = attempt(job)
        if outcome.stopped:
            raise Interrupted(f"stopped by {signal.Signals(outcome.stopped).name}", outcome.stopped)
        yield job, outcome


def _results(jobs: Sequence[Job], outcomes: Mapping[int, Outcome], where: Path | None) -> list[Any]:
    results = [outcomes[job.number].result for job in jobs]
    failed = [job for job in jobs if outcomes[job.number].error]
    if not failed:
        return results
    lines = [f"{_text(job.settings)}: {outcomes[job.number].error}" for job in failed[:10]]
    lines += [f"and {len(failed) - 10} more"] if len(failed) > 10 else []
    rest = "results of the others are in this error's `results`"
    if isinstance(failed[0].run, Task):
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
