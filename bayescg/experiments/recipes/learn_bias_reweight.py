"""A CV learned from shots, windows along it, and all questions of the biased frames: learn, bias, reweight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from bayescg import sampling
from bayescg.experiments import build
from bayescg.experiments.recipes.recipe import OneFit, Stage, fitted
from bayescg.experiments.stored_shots import stored_shots
from bayescg.questions import Context
from bayescg.questions.known import of_system, state

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment

__all__ = ["LearnBiasReweight"]


class LearnBiasReweight(OneFit):
    """Shots, fit, windows, questions."""

    @classmethod
    def serves(cls, experiment: Experiment) -> bool:
        """A file with sections ``[shooting]`` and ``[umbrella]``."""
        return experiment.compare is None and experiment.shooting is not None

    def stages(self) -> Iterator[Stage]:
        """Shots, fit, windows."""
        shooting, umbrella = self.experiment.shooting, self.experiment.umbrella
        assert shooting is not None
        assert umbrella is not None
        ends = " or ".join(shooting.states)
        yield "shots", f"{shooting.shots} from each of {shooting.configurations} configurations to {ends}", self._shots
        yield "fit", f"{self.experiment.model.name} on {len(self.train)} configurations", self._fit
        yield "umbrella", f"{umbrella.windows} windows x {umbrella.walkers} walkers", self._umbrella
        self.subject = f"{len(self.biased)} frames of {umbrella.windows} windows"

    def context(self) -> Context:
        """The fit and the biased frames; trained and tested it was on shots."""
        settings, seed = self.experiment.analysis, self.experiment.run.seed
        return Context(self.fit, self.biased, settings, seed, self.train, self.test, self.simulated)

    def energies(self) -> int:
        """Evaluations of forces, those of the hot dynamics included."""
        costs = [frames.provenance["cost"] for frames in (self.shots, self.biased)]
        return sum(int(cost["force_evaluations"]) for cost in costs)

    @property
    def simulated(self) -> Any:
        """The system."""
        if not hasattr(self, "_simulated"):
            self._simulated = build.system_of(self.experiment)
        return self._simulated

    def _shots(self) -> None:
        path, settings, run = self.path / "shots.npz", self.experiment.shooting, self.experiment.run
        assert settings is not None
        within = self.experiment.analysis.regions
        regions = {name: state(self.simulated, within, name) for name in settings.states}

        def shoot() -> tuple[Frames, int]:
            dynamics = {"dynamics": settings.dynamics, "friction": settings.friction, "dt": settings.dt}
            common: dict[str, Any] = {**dynamics, "compile": run.compile, "device": run.device, "seed": run.seed}
            hot = sampling.flattened(
                self.simulated, settings.configurations, cv=self._over(), ceiling=settings.ceiling, heat=settings.heat,
                steps=settings.hot_steps, chains=settings.chains, **common,
            )  # fmt: skip
            shots = sampling.commitment(
                self.simulated,
                hot,
                regions,
                shots=settings.shots,
                heat=settings.shot_heat,
                steps=settings.steps,
                **common,
            )
            return shots, sum(f.provenance["cost"]["force_evaluations"] for f in (hot, shots))

        shot = sampling.sampled_frames.heated(self.simulated, settings.shot_heat)
        self.shots = stored_shots(path, shot, settings.states, shoot)
        self.train, self.test = self.shots.split(test=self.experiment.fit.held_out, seed=run.seed)

    def _over(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What the configurations are to be flat over; None for the energy."""
        from bayescg.features.observables import from_names
        from bayescg.topologies import read_topology

        assert self.experiment.shooting is not None
        functions: list[Callable[[torch.Tensor], torch.Tensor]] = []
        for name in self.experiment.shooting.over:
            function = of_system(self.simulated, name)
            functions += [function] if function else from_names([name], read_topology(self.simulated.topology)[0])
        return (lambda x: torch.stack([f(x) for f in functions], -1)) if functions else None

    def _fit(self) -> None:
        self.fit = fitted(self.experiment, self.train, self.path / "fit", self.path / "shots", run_dir=self.path)

    def _umbrella(self) -> None:
        settings, run = self.experiment.umbrella, self.experiment.run
        assert settings is not None
        arguments: dict[str, Any] = {k: None if v == "none" else v for k, v in settings.model_dump().items()}
        self.biased: Frames = sampling.umbrella(
            self.simulated, self.fit, arguments.pop("steps"), starts=self.shots, compile=run.compile,
            device=run.device, seed=run.seed, run_dir=self.path / "umbrella", **arguments,
        )  # fmt: skip
