"""One model of frames: simulate or read, train on some of them, ask about all, and about those held out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bayescg.experiments import build
from bayescg.experiments.recipes.recipe import OneFit, Stage, fitted
from bayescg.questions import Context

if TYPE_CHECKING:
    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit

__all__ = ["FromFrames", "simulated_energies", "source"]


class FromFrames(OneFit):
    """Frames, fit, fits of other models beside it, questions."""

    def __init__(self, experiment: Experiment, path: Path):
        super().__init__(experiment, path)
        self.beside: dict[str, Fit] = {}

    @classmethod
    def serves(cls, experiment: Experiment) -> bool:
        """A model that learns from frames, alone."""
        return experiment.compare is None and build.learns_from_frames(experiment)

    def stages(self) -> Iterator[Stage]:
        """Frames, fit."""
        yield "frames", source(self.experiment), self._frames
        lag = self.experiment.data.lag
        number = len(self.train)
        words = f"{number} frames" if lag is None else f"pairs of {number} frames, {lag:g} apart"
        yield "fit", f"{self.experiment.model.name} on {words}", self._fit
        for name, other in build.peers(self.experiment).items():
            yield f"fit {name}", f"{other.model.name} on the same frames", partial(self._fit_beside, name, other)
        self.subject = f"{len(self.frames)} frames, {len(self.test)} of them held out"

    def context(self) -> Context:
        """The fit and all frames."""
        settings, seed = self.experiment.analysis, self.experiment.run.seed
        data = self.train, self.test, self.system
        return Context(self.fit, self.frames, settings, seed, *data, beside=self.beside)

    def energies(self) -> int:
        """Those of the simulation."""
        return simulated_energies(self.experiment, len(self.frames))

    def _frames(self) -> None:
        self.frames = build.frames_of(self.experiment, self.path / "trajectories")
        held_out, seed = self.experiment.fit.held_out, self.experiment.run.seed
        self.train, self.test = self.frames.split(blocks=20, test=held_out, seed=seed)

    def _fit(self) -> None:
        places = self.path / "fit", self.path / "trajectories"
        self.fit = fitted(self.experiment, self.train, *places, run_dir=self.path)
        wanted = self.experiment.data
        if wanted.equilibrium and wanted.lag is not None:
            self.frames = self.frames.equilibrium(self.fit, wanted.lag)

    def _fit_beside(self, name: str, other: Experiment) -> None:
        places = self.path / "beside" / name, self.path / "trajectories"
        self.beside[name] = fitted(other, self.train, *places, run_dir=places[0])


def source(experiment: Experiment) -> str:
    """Where the frames come from, in words."""
    if experiment.data.frames is not None:
        return f"read {', '.join(experiment.data.frames)}"
    settings = experiment.simulation
    assert settings is not None
    if settings.engine == "overdamped":
        return f"overdamped dynamics, {settings.chains} x {settings.time:g}"
    return f"molecular dynamics, {settings.chains} x {settings.time:g} ps"


def simulated_energies(experiment: Experiment, frames: int) -> int:
    """Energy evaluations of the simulation, equilibration included; none for frames that were given."""
    settings = experiment.simulation
    if experiment.data.frames is not None or settings is None:
        return 0
    every, warm_up = round(settings.frame_every / settings.dt), round(settings.equilibration / settings.dt)
    return frames * every + settings.chains * warm_up
