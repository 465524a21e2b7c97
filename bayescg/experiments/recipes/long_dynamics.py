"""From short trajectories to long ones: pairs of states, the map of a long time step, dynamics by it, and by others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bayescg import sampling
from bayescg.data import Frames
from bayescg.errors import SimulationError
from bayescg.experiments import build
from bayescg.experiments.recipes.recipe import OneFit, Stage, fitted
from bayescg.experiments.schema import Named
from bayescg.questions import Context

if TYPE_CHECKING:
    from bayescg.experiments.schema import Experiment

__all__ = ["LongDynamics"]


class LongDynamics(OneFit):
    """Pairs, fit, dynamics, the same by an explicit map and by velocity Verlet, questions."""

    direct: Any = None

    @classmethod
    def serves(cls, experiment: Experiment) -> bool:
        """A file with a section ``[long_steps]``."""
        return experiment.compare is None and experiment.long_steps is not None

    def stages(self) -> Iterator[Stage]:
        """Pairs, fit, dynamics, peers."""
        settings, lag = self.settings, self.experiment.data.lag
        yield "pairs", f"{settings.pairs} pairs of states {lag:g} apart, and some to test on", self._pairs
        yield "fit", f"{self.experiment.model.name} on {settings.pairs} pairs", self._fit
        if settings.direct is not None:
            yield "direct", f"{settings.direct} on the same pairs", self._direct
        chains = settings.trajectories * (settings.draws or 1)
        yield "dynamics", f"{chains} trajectories of {settings.steps} steps", self._dynamics
        if settings.verlet:
            yield "verlet", "the same time by velocity Verlet", self._verlet
        self.subject = f"{len(self.run)} frames of {chains} trajectories, from {settings.pairs} pairs"

    @property
    def settings(self) -> Any:
        """Those of ``[long_steps]``."""
        return self.experiment.long_steps

    def context(self) -> Context:
        """The fit, its trajectories, and those of other integrators."""
        analysis, seed = self.experiment.analysis, self.experiment.run.seed
        return Context(
            self.fit, self.run, analysis, seed, train=self.pairs[0], test=self.pairs[1], system=self.molecule,
            simulated=self.run, peers=self.peers,
        )  # fmt: skip

    def posterior(self) -> Any:
        """Draws of the parameters."""
        draws = None if self.fit.weights.members else self.experiment.analysis.draws
        return self.fit.posterior(draws, seed=self.experiment.run.seed, frames=self.pairs[0])

    def energies(self) -> int:
        """Evaluations of forces: those of the pairs, which the map replaces, and those of velocity Verlet."""
        runs = [run for run in (*self.pairs, *self.peers.values()) if run is not None]
        return sum(int(run.provenance.get("cost", {}).get("force_evaluations", 0)) for run in runs)

    def _starts(self, count: int, seed: int, energies: list[float] | None) -> Any:
        if energies is None:
            mass = sampling.sampled_frames.masses(self.molecule)
            return sampling.long_steps.phase_space_starts.phase_space_starts(self.molecule, count, mass, seed)[:2]
        return self.molecule.shell(count, tuple(energies), seed=seed)

    def _pairs(self) -> None:
        settings, seed, lag = self.settings, self.experiment.run.seed, self.experiment.data.lag
        self.molecule = build.system_of(self.experiment)
        assert lag is not None
        held_out = max(20, round(self.experiment.fit.held_out * settings.pairs))
        self.pairs: list[Frames] = [
            sampling.short_trajectories(
                self.molecule, self._starts(count, 3 * seed + k, settings.energies), lag=lag,
                accuracy=settings.accuracy, seed=seed,
            ).frames
            for k, count in enumerate((settings.pairs, held_out))
        ]  # fmt: skip

    def _fit(self) -> None:
        self.fit = fitted(self.experiment, self.pairs[0], self.path / "fit", self.path, run_dir=self.path)

    def _direct(self) -> None:
        other = self.experiment.model_copy(update={"model": Named(name=self.settings.direct)})
        where = self.path / "direct"
        self.direct = fitted(other, self.pairs[0], where / "fit", where, run_dir=where)

    def _dynamics(self) -> None:
        settings, run = self.settings, self.experiment.run
        self.peers: dict[str, Frames | None] = {}
        energies = settings.energies if settings.start_energies is None else settings.start_energies
        self.begin = self._starts(settings.trajectories, 3 * run.seed + 2, energies)
        common: dict[str, Any] = {
            "steps": settings.steps, "stride": settings.stride, "thermostat": settings.thermostat,
            "friction": settings.friction, "lost": "end", "compile": run.compile, "seed": run.seed,
        }  # fmt: skip
        self.run = sampling.mapped_dynamics(
            self.fit, self.begin, draws=settings.draws, tolerance=settings.tolerance, start_from=self.direct,
            out=self.path / "dynamics", **common,
        )  # fmt: skip
        if self.direct is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of lost trajectories, which the question counts
                self.peers[self.settings.direct] = sampling.mapped_dynamics(
                    self.direct, self.begin, out=self.path / "direct" / "dynamics", **common
                )

    def _verlet(self) -> None:
        settings, run, lag = self.settings, self.experiment.run, self.experiment.data.lag
        assert lag is not None
        iterations = max(1, round(self.run.provenance["solver"]["iterations"]))
        for name, each in {"velocity Verlet": 1, "velocity Verlet at equal cost": iterations}.items():
            try:
                self.peers[name] = sampling.newtonian(
                    self.molecule, settings.steps * each, dt=lag / each, starts=self.begin,
                    stride=settings.stride * each, compile=run.compile, device=run.device, seed=run.seed,
                    run_dir=self.path / name.replace(" ", "-"),
                )  # fmt: skip
            except SimulationError:  # too long a step for it
                self.peers[name] = None
