"""From frames of all atoms to a coarse-grained potential, its simulation, and what the two show side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg import features, sampling
from bayescg.data import evenly
from bayescg.experiments import build
from bayescg.experiments.recipes.from_frames import source
from bayescg.experiments.recipes.recipe import OneFit, Stage, fitted
from bayescg.questions import Context
from bayescg.questions.coarse_against_all_atom import inside
from bayescg.sampling.chains.batched import equilibrated
from bayescg.sampling.chains.starts import structures

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment

__all__ = ["CoarseGrained"]


class CoarseGrained(OneFit):
    """Frames of all atoms, forces on beads, fit, dynamics of the beads, questions."""

    @classmethod
    def serves(cls, experiment: Experiment) -> bool:
        """A file with a section ``[coarse_graining]``."""
        return experiment.compare is None and experiment.coarse_graining is not None

    def stages(self) -> Iterator[Stage]:
        """All atoms, forces, fit, beads."""
        settings = self.settings
        yield "frames", source(self.experiment), self._frames
        yield "forces", f"{settings.aggregation} forces on {len(self.mapping.labels)} beads", self._forces
        yield "fit", f"{self.experiment.model.name} on {len(self.train)} frames", self._fit
        yield "dynamics", f"dynamics of the beads, {settings.chains} x {settings.time:g} ps", self._dynamics
        self.subject = f"{len(self.forces)} frames of all atoms, {len(self.run)} of the beads"

    @property
    def settings(self) -> Any:
        """Those of ``[coarse_graining]``."""
        return self.experiment.coarse_graining

    def context(self) -> Context:
        """The fit, the mapped frames, and the simulation of the beads."""
        return self._context(self.fit, train=self.train, test=self.test, simulated=self.run, at_trained=self.at_trained)

    def _context(self, fit: Any, **more: Any) -> Context:
        return Context(fit, self.forces, self.experiment.analysis, self.experiment.run.seed, **more)

    def energies(self) -> int:
        """Evaluations of forces, those of the beads included."""
        runs = (self.atoms, self.run, self.at_trained)
        costs = [run.provenance.get("cost", {}) for run in runs if run is not None]
        return sum(int(cost.get("force_evaluations", 0)) for cost in costs)

    def _frames(self) -> None:
        experiment, seed = self.experiment, self.experiment.run.seed
        self.molecule = build.system_of(experiment)
        if experiment.data.frames is not None:
            self.atoms: Frames = build.frames_of(experiment, self.path / "trajectories")
        else:
            assert experiment.simulation is not None
            simulation = experiment.simulation
            common: dict[str, Any] = {"dt": simulation.dt, "seed": seed, "device": experiment.run.device}
            steps, every, before = _steps(simulation)
            begin, before = equilibrated(
                self.molecule, structures(self.molecule, None, simulation.chains).astype(np.float32), before,
                simulation.temperatures, run_dir=self.path / "equilibration", **common,
            )  # fmt: skip
            # with forces, and in full precision, which those of stiff bonds need
            self.atoms = sampling.langevin(
                self.molecule, steps, friction=simulation.friction, starts=begin, stride=every, equilibration=before,
                forces=True, run_dir=self.path / "all-atom", **common,
            )  # fmt: skip
        self.mapping = features.beads(self.molecule, self.settings.beads, self.settings.centre)

    def _forces(self) -> None:
        seed = self.experiment.run.seed
        aggregation, without = self.settings.aggregation, self.settings.without
        self.forces = sampling.mapped_forces(self.atoms, self.molecule, self.mapping, aggregation, seed=seed)
        part = self.forces
        if without is not None:
            basin = self.experiment.analysis.basins[without]
            part = part.subset(inside(basin, self._context(None), part) == 0)
        self.train, self.test = part.split(blocks=20, test=self.experiment.fit.held_out, seed=seed)

    def _fit(self) -> None:
        self.fit = fitted(self.experiment, self.train, self.path / "fit", self.path, run_dir=self.path)

    def _dynamics(self) -> None:
        settings, run = self.settings, self.experiment.run
        weights, draws = self.fit.weights, None
        if weights.kind != "none":
            draws = min(settings.draws, weights.members or settings.draws)
        steps, every, before = _steps(settings)

        def simulate(system: Any, where: str) -> Frames:
            return sampling.langevin(
                system, steps, dt=settings.dt, friction=settings.friction, stride=every, equilibration=before,
                starts=self.train.gather(evenly(self.train, settings.chains)), compile=run.compile, device=run.device,
                seed=run.seed, run_dir=self.path / where,
            )  # fmt: skip

        self.run = simulate(self.fit.system(draws=draws, seed=run.seed), "beads")
        self.at_trained = None if draws is None else simulate(self.fit.system(), "beads-at-trained-values")


def _steps(settings: Any) -> tuple[int, int, int]:
    """Steps of dynamics, from frame to frame, and before the first one."""
    steps, every, before = (
        round(t / settings.dt) for t in (settings.time, settings.frame_every, settings.equilibration)
    )
    return steps // every * every, every, before
