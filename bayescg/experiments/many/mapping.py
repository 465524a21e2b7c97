"""`map`: many runs, on this machine or on a cluster, each of them once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayescg.experiments.schema import Experiment
from bayescg.many.dispatch import calls, carry_out, directories
from bayescg.many.jobs import Job, Task

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
        single GPU give 1. 0: this process, one run after the other, as for functions of a notebook.
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
    keywords = [dict(s) for s in settings]
    jobs, where = calls(run, keywords, out) if callable(run) else _experiments(run, keywords, out)
    return carry_out(jobs, where, cluster, workers=workers, retries=retries, progress=progress)


@dataclass(frozen=True)
class _Run(Task):
    """A run of an experiment, which keeps its own record."""

    experiment: Experiment

    @property
    def processes(self) -> int:
        simulation = self.experiment.simulation
        return simulation.processes if simulation else 1

    def finished(self, directory: Path) -> dict[str, Any] | None:
        from bayescg.experiments import directory as run_directory
        from bayescg.experiments import summary

        if run_directory.is_finished(directory) and run_directory.read_experiment(directory) == self.experiment:
            return summary.read(directory)
        return None

    def perform(self, directory: Path) -> dict[str, Any]:
        from bayescg.experiments import runner

        return runner.run(self.experiment, directory, lambda _: None)


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
    return [Job(i, keywords, _Run(experiments[i]), d) for i, keywords, d in directories(settings, where)], where
