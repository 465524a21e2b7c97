"""Run an experiment, stage by stage, into its directory; go on with one that was interrupted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bayescg
from bayescg import checkpoint
from bayescg.analysis import reweighted
from bayescg.errors import OutputError
from bayescg.experiments import build, directory, summary
from bayescg.experiments.recipes import several_methods as comparison
from bayescg.experiments.schema import Experiment
from bayescg.inference import Fit
from bayescg.modelling import HasBasis, Model
from bayescg.questions import free_energies as queried
from bayescg.questions import predictions as questions
from bayescg.questions import slow_modes
from bayescg.report import draw_figures, draw_kinetics, write_report
from bayescg.stopping import claimed, stoppable

if TYPE_CHECKING:
    from bayescg.data import Frames

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
        comparison.check_study(experiment)
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


def report(path: str | Path, say: Say = print) -> Path:
    """Make the figures and ``report.html`` of a finished run again from its frames and its fit.

    Raises
    ------
    OutputError
        The run is not finished.
    """
    path = Path(path)
    with stoppable(lambda: f"The numbers are untouched. Try again: bayescg report {path}"):
        experiment = directory.read_experiment(path)
        if not directory.is_finished(path):
            raise OutputError(f"the run in {path} is not finished; go on with it first: bayescg resume {path}")
        results = summary.read(path)
        build.check(experiment)
        with claimed(path):
            return _Run(experiment, path, say).draw(results)


class _Run:
    """One run under way in its directory."""

    def __init__(self, experiment: Experiment, path: Path, say: Say):
        self.experiment, self.path, self.say = experiment, path, say
        self.stages = directory.Stages(path)

    def to_the_end(self) -> dict[str, Any]:
        if self.experiment.compare is not None:
            results, figures = self._compared()
            self._write_report(results, figures)
            summary.write(self.path, results)
            return results
        if not build.model_class(self.experiment.model.name).needs_frames:
            return self._without_frames()
        with self._stage("frames", _source(self.experiment)):
            frames = build.frames_of(self.experiment, self.path / "trajectories")
        train, test = self._split(frames)
        with self._stage("fit", f"{self.experiment.model.name} on {_told(self.experiment, train)}"):
            fit = self._fit(train)
        slow = isinstance(fit.model, HasBasis)
        with self._stage(
            "analysis", "slow modes" if slow else f"predictions of {len(test)} frames held out, free energies"
        ):
            answers = self._ask(fit, frames, test)
            summary.write_posterior(self.path, fit, train, self.experiment, answers)
            figures = self._figures(answers, fit, frames)
        results = summary.collect(self.experiment, fit, frames, answers, self.stages)
        self._write_report(results, figures)
        summary.write(self.path, results)
        return results

    def _without_frames(self) -> dict[str, Any]:
        with self._stage("fit", f"{self.experiment.model.name} on the energies of {_system(self.experiment)}"):
            fit = self._fit(None)
        audited = ", audit" if self.experiment.analysis.audit else ""
        with self._stage("analysis", f"{self.experiment.analysis.samples} weighted draws, free energies{audited}"):
            frames, answers = self._queried(fit)
            summary.write_posterior(self.path, fit, frames, self.experiment, answers)
            figures = self._figures(answers, fit, frames)
        results = summary.collect(self.experiment, fit, frames, answers, self.stages)
        self._write_report(results, figures)
        summary.write(self.path, results)
        return results

    def _queried(self, fit: Fit) -> tuple[Frames, questions.Answers]:
        frames = reweighted(fit, self.experiment.analysis.samples, self.experiment.run.seed)
        return frames, queried.ask_without_frames(self.experiment, fit, frames)

    def draw(self, results: dict[str, Any]) -> Path:
        """The figures and the report again; the numbers stay."""
        if self.experiment.compare is not None:
            return self._write_report(results, self._compared()[1])
        with self._warnings():
            if not build.model_class(self.experiment.model.name).needs_frames:
                fit = self._fit(None)
                frames, answers = self._queried(fit)
                return self._write_report(results, self._figures(answers, fit, frames))
            frames = build.frames_of(self.experiment, self.path / "trajectories")
            train, test = self._split(frames)
            fit = self._fit(train)
            answers = self._ask(fit, frames, test)
            return self._write_report(results, self._figures(answers, fit, frames))

    def _compared(self) -> tuple[dict[str, Any], dict[Path, str]]:
        return comparison.Study(self.experiment, self.path, self.stages, self._stage).run()

    def _ask(self, fit: Fit, frames: Frames, test: Frames) -> questions.Answers:
        if isinstance(fit.model, HasBasis):
            return slow_modes.ask_slow_modes(self.experiment, fit, frames, test)
        return questions.ask(self.experiment, fit, frames, test)

    def _split(self, frames: Frames) -> tuple[Frames, Frames]:
        return frames.split(blocks=20, test=self.experiment.fit.held_out, seed=self.experiment.run.seed)

    def _fit(self, train: Frames | None) -> Fit:
        saved = self.path / "fit"
        if not (saved / "fit.json").exists():
            lag = self.experiment.data.lag
            fitted = bayescg.fit(
                build.model_of(self.experiment, train, self.path / "trajectories"),
                train if train is None or lag is None else train.lagged(lag),
                run_dir=self.path,
                **self.experiment.fit.model_dump(exclude={"held_out"}),
                **self.experiment.run.model_dump(exclude={"quick"}),
            )
            fitted.save(saved)
        # what is analysed is what is on the disk, in the same place whether or not the run was interrupted
        return Fit.load(saved, model=self._unregistered(saved))

    def _unregistered(self, saved: Path) -> Model | None:
        if not build.model_class(self.experiment.model.name).needs_frames:
            return build.model_of(self.experiment, None, self.path)
        if ":" not in self.experiment.model.name:
            return None
        config = checkpoint.read(saved / "fit.json")[1]["config"]
        return build.model_class(self.experiment.model.name).from_config(config)

    def _figures(self, answers: questions.Answers, fit: Fit, frames: Frames) -> dict[Path, str]:
        folder = self.path / "figures"
        drawn = draw_figures(
            folder,
            fit,
            frames,
            answers.check,
            answers.landscapes,
            answers.known,
            answers.modes,
            answers.rates,
        )
        if isinstance(answers, slow_modes.SlowAnswers) and answers.modes is not None:
            torsions = self.experiment.analysis.torsions
            times = [1 / rate for rate in answers.rates] or None
            drawn |= draw_kinetics(folder, answers.modes, frames, torsions, answers.timescales, answers.test, times)
        return drawn

    def _write_report(self, results: dict[str, Any], figures: dict[Path, str]) -> Path:
        config = (self.path / "config.toml").read_text(encoding="utf-8")
        models = [self.experiment, *build.compared(self.experiment).values()]
        cite = [*self.experiment.experiment.cite, *(build.model_class(one.model.name).citation for one in models)]
        about = self.experiment.experiment.description
        return write_report(self.path / "report.html", results, figures, config, description=about, cite=cite)

    @contextmanager
    def _stage(self, name: str, detail: str) -> Iterator[None]:
        self.say(f"{name}: {detail}")
        started = time.perf_counter()
        with self._warnings() as found:
            yield
        self.stages.complete(name, time.perf_counter() - started, found)

    @contextmanager
    def _warnings(self) -> Iterator[list[str]]:
        """Warnings meant for people go to the summary and the screen; those for programmers are left alone."""
        found: list[str] = []

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            if issubclass(category, UserWarning) and str(message) not in found:
                found.append(str(message))
                self.say(f"warning: {message}")

        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            yield found


def _source(experiment: Experiment) -> str:
    if experiment.data.frames is not None:
        return f"read {', '.join(experiment.data.frames)}"
    settings = experiment.simulation
    assert settings is not None
    if settings.engine == "overdamped":
        return f"overdamped dynamics, {settings.chains} x {settings.time:g}"
    return f"molecular dynamics, {settings.chains} x {settings.time:g} ps"


def _told(experiment: Experiment, train: Frames) -> str:
    lag = experiment.data.lag
    return f"{len(train)} frames" if lag is None else f"pairs of {len(train)} frames, {lag:g} apart"


def _system(experiment: Experiment) -> str:
    return experiment.system.name if experiment.system is not None else "a system"


def _how_to_go_on(path: Path) -> str:
    if (path / "config.toml").exists():
        return f"What is complete is kept. Go on with: bayescg resume {path}"
    return "Nothing was written. To start, give the same command again."
