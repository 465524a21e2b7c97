"""Run an experiment, stage by stage, into its directory; go on with one that was interrupted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bayescg.errors import ConfigError, OutputError
from bayescg.experiments import build, directory, summary
from bayescg.experiments.recipes import recipe_of
from bayescg.experiments.schema import Experiment
from bayescg.experiments.settings import asking
from bayescg.inference.fitted import warned_if_failing
from bayescg.questions import Finding
from bayescg.report import Figures, save_figures, write_report
from bayescg.stopping import claimed, stoppable

__all__ = ["report", "resume", "run"]

Say = Callable[[str], None]


def run(experiment: Experiment, out: str | Path, say: Say = print) -> dict[str, Any]:
    """Run an experiment, or go on with it where `out` holds the same one unfinished.

    Frames, fit and results appear in `out` as they are complete and are never made twice.

    Parameters
    ----------
    experiment : Experiment
        From `load`.
    out : path
    say : callable
        Told, in a line each, what begins and what to know.

    Returns
    -------
    dict
        What ``summary.json`` holds.

    Raises
    ------
    ConfigError
        A name or argument that nothing takes; nothing was computed.
    OutputError
        `out` cannot be written, is in use, or holds something else.
    Interrupted
        SIGINT or SIGTERM; `resume` goes on.
    """
    path = Path(out)
    with stoppable(lambda: _how_to_go_on(path)):
        build.check(experiment)
        if path.is_dir() and not (path / "config.toml").exists():
            directory.refuse_strangers(path)
        with claimed(path):
            directory.prepare(path, experiment)
            return _Run(experiment, path, say).to_the_end()


def resume(path: str | Path, say: Say = print) -> dict[str, Any]:
    """Go on with an interrupted run; a finished one is only read.

    Raises
    ------
    OutputError
        `path` is not a run's directory, or another process is at work in it.
    ConfigError
        Its ``config.toml`` was damaged.
    """
    path = Path(path)
    experiment = directory.read_experiment(path)
    if directory.is_finished(path):
        say(f"{path} is finished; there is nothing to resume")
        return summary.read(path)
    return run(experiment, path, say)


def report(path: str | Path, say: Say = print, changes: Iterable[str] = ()) -> Path:
    """Make the figures and ``report.html`` of a finished run again from its frames and its fit.

    Parameters
    ----------
    path : path
        The run's directory.
    say : callable
    changes : iterable of str
        ``analysis.key=value``: what to ask otherwise. All is then asked anew, and the numbers are others; the run need
        not be finished.

    Raises
    ------
    OutputError
        The run is not finished.
    ConfigError
        A change that nothing takes; nothing was touched.
    """
    path, changes = Path(path), list(changes)
    untouched = f"The numbers are untouched. Try again: bayescg report {path}"
    with stoppable(lambda: _how_to_go_on(path) if changes else untouched):
        experiment = asking(directory.read_experiment(path), changes)
        if not changes and not directory.is_finished(path):
            raise OutputError(f"the run in {path} is not finished; go on with it first: bayescg resume {path}")
        results = {} if changes else summary.read(path)
        try:
            build.check(experiment)
        except ConfigError as error:
            hint = f". To ask otherwise of this fit: bayescg report {path} --set KEY=VALUE"
            raise ConfigError(f"{error}{hint if str(error).startswith('analysis.') else ''}") from error
        with claimed(path):
            if not changes:
                return _Run(experiment, path, say).draw(results)
            directory.change(path, experiment)
            _Run(experiment, path, say).to_the_end()
            return path / "report.html"


class _Run:
    """One run under way in its directory."""

    def __init__(self, experiment: Experiment, path: Path, say: Say):
        self.experiment, self.path, self.say = experiment, path, say
        self.stages, self.recipe = directory.Stages(path), recipe_of(experiment)(experiment, path)

    def to_the_end(self) -> dict[str, Any]:
        for name, detail, work in self.recipe.stages():
            with self._stage(name, detail):
                work()
        with self._stage("analysis", self.recipe.subject):
            finding = self.recipe.ask()
            tree = None
            with warned_if_failing("draws of the posterior", finding.warnings):
                tree = self.recipe.posterior()
            summary.write_posterior(self.path, tree, finding)
            figures = save_figures(self.path / "figures", finding.figures)
        results = summary.collect(self.experiment, self.recipe, finding, self.stages)
        self._write_report(results, finding, figures)
        summary.write(self.path, results)
        return results

    def draw(self, results: dict[str, Any]) -> Path:
        """The figures and the report again; the numbers stay."""
        with self._warnings():
            for _, _, work in self.recipe.stages():
                work()
            finding = self.recipe.ask()
            figures = save_figures(self.path / "figures", finding.figures)
        for warning in finding.warnings:
            if warning not in results["diagnostics"]["warnings"]:
                self.say(f"warning: {warning}")
        return self._write_report(results, finding, figures)

    def _write_report(self, results: dict[str, Any], finding: Finding, figures: Figures) -> Path:
        words = summary.write_words(self.path, finding)
        config = (self.path / "config.toml").read_text(encoding="utf-8")
        cite = [*self.experiment.experiment.cite, *(fit.model.citation for fit in self.recipe.fits())]
        about = self.experiment.experiment.description
        return write_report(self.path / "report.html", results, words, figures, config, description=about, cite=cite)

    @contextmanager
    def _stage(self, name: str, detail: str) -> Iterator[None]:
        self.say(f"{name}: {detail}")
        started = time.perf_counter()
        with self._warnings() as warned:
            yield
        self.stages.complete(name, time.perf_counter() - started, warned)

    @contextmanager
    def _warnings(self) -> Iterator[list[str]]:
        """Warnings meant for people go to the summary and the screen; those for programmers are left alone."""
        warned: list[str] = []

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            if issubclass(category, UserWarning) and str(message) not in warned:
                warned.append(str(message))
                self.say(f"warning: {message}")

        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            yield warned


def _how_to_go_on(path: Path) -> str:
    if (path / "config.toml").exists():
        return f"What is complete is kept. Go on with: bayescg resume {path}"
    return "Nothing was written. To start, give the same command again."
