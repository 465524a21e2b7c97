"""From frames of all atoms to a coarse-grained potential, its simulation, and what the two show side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg import sampling
from bayescg.analysis.evaluation import evaluate
from bayescg.data import Frames, evenly
from bayescg.errors import DataError
from bayescg.experiments import build
from bayescg.experiments.recipes.from_frames import source
from bayescg.experiments.recipes.recipe import OneFit, Stage, fitted
from bayescg.questions import Context
from bayescg.questions.coarse_against_all_atom import inside
from bayescg.sampling.chains.batched import equilibrated
from bayescg.sampling.chains.starts import structures

if TYPE_CHECKING:
    from bayescg.experiments.schema import Experiment

__all__ = ["CoarseGrained"]

_BESIDE = 0.2
"""Radians beside the windows from which frames begin them."""


class CoarseGrained(OneFit):
    """Frames of all atoms, and of barriers under a bias, forces on beads, fit, dynamics of the beads, questions."""

    biased: Frames | None = None

    @classmethod
    def serves(cls, experiment: Experiment) -> bool:
        """A file with a section ``[coarse_graining]``."""
        return experiment.compare is None and experiment.coarse_graining is not None

    def stages(self) -> Iterator[Stage]:
        """All atoms, barriers, forces, fit, beads."""
        settings = self.settings
        yield "frames", source(self.experiment), self._frames
        if settings.across is not None and (windows := self.experiment.umbrella) is not None:
            yield "umbrella", f"{windows.walkers} x {windows.windows} windows along {settings.across}", self._umbrella
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
        runs = (self.atoms, self.biased, self.run, self.at_trained)
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
        self.mapping = build.mapping_of(experiment, self.molecule)

    def _umbrella(self) -> None:
        ((name, ends),) = self.settings.across.items()
        torsion = build.torsion_across(self.experiment, self.mapping)
        assert torsion is not None
        along = lambda x: torsion(self.mapping.bead_positions(x)).reshape(len(x))  # noqa: E731
        low, high = np.deg2rad(ends)
        assert self.experiment.umbrella is not None
        arguments, run = self.experiment.umbrella.model_dump(), self.experiment.run
        windows, every = arguments["windows"], arguments.pop("exchange_every")
        at = evaluate(along, self.atoms)
        near = np.flatnonzero((at > low - _BESIDE) & (at < high + _BESIDE))
        if not len(near):
            raise DataError(
                f"no frame of all atoms has {name} between {ends[0]:g} and {ends[1]:g} degrees, to begin at"
            )
        self.biased = sampling.umbrella(
            self.molecule, along, arguments.pop("steps"), starts=self.atoms.gather(near),
            centres=np.linspace(low, high, windows).tolist(), compile=run.compile, device=run.device, seed=run.seed,
            exchange_every=None if every == "none" else every, run_dir=self.path / "umbrella", **arguments,
        )  # fmt: skip

    def _forces(self) -> None:
        seed = self.experiment.run.seed
        self.forces = self._mapped(self.atoms)
        self.train, self.test = self._seen(self.forces).split(20, self.experiment.fit.held_out, seed)
        self.starts = self.train.gather(evenly(self.train, self.settings.chains))
        if self.biased is not None:
            self.train = _joined([self.train, self._seen(self._mapped(_by_replica(self.biased, self.forces.dt)))])

    def _mapped(self, atoms: Frames) -> Frames:
        aggregation, seed = self.settings.aggregation, self.experiment.run.seed
        return sampling.mapped_forces(atoms, self.molecule, self.mapping, aggregation, seed=seed)

    def _seen(self, beads: Frames) -> Frames:
        """All of them, but for the basin that is kept from the training."""
        without = self.settings.without
        if without is None:
            return beads
        return beads.subset(inside(self.experiment.analysis.basins[without], self._context(None), beads) == 0)

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
                starts=self.starts, compile=run.compile, device=run.device, seed=run.seed, run_dir=self.path / where,
            )  # fmt: skip

        self.run = simulate(self.fit.system(draws=draws, seed=run.seed), "beads")
        self.at_trained = None if draws is None else simulate(self.fit.system(), "beads-at-trained-values")


def _by_replica(biased: Frames, dt: float | None) -> Frames:
    """Paths of replicas through all windows, one trajectory each, as if there were no bias: forces do not feel it."""
    assert biased.bias is not None
    order = np.argsort(biased.bias.replica, kind="stable")
    return Frames.from_numpy(
        biased.gather(order), unit="nm", dt=dt, temperature=biased.temperature, topology=biased.topology,
        trajectory=biased.bias.replica[order],
    )  # fmt: skip


def _joined(parts: list[Frames]) -> Frames:
    """One set of frames with forces, whose consecutive ones are trajectories."""
    runs = [part.blocks(len(part)) for part in parts]
    shifts = np.cumsum([0, *(int(run.max()) + 1 for run in runs)])
    x, forces = (np.concatenate([p.gather(slice(None), what) for p in parts]) for what in ("positions", "forces"))
    return Frames.from_numpy(
        x, unit="nm", dt=parts[0].dt, temperature=parts[0].temperature, topology=parts[0].topology, forces=forces,
        trajectory=np.concatenate([run + shift for run, shift in zip(runs, shifts, strict=False)]),
    )  # fmt: skip


def _steps(settings: Any) -> tuple[int, int, int]:
    """Steps of dynamics, from frame to frame, and before the first one."""
    steps, every, before = (
        round(t / settings.dt) for t in (settings.time, settings.frame_every, settings.equilibration)
    )
    return steps // every * every, every, before
