"""Short trajectories from where they tell most, round by round, beside walkers that go on where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

import bayescg as bcg
from bayescg.experiments.acquisition import active
from bayescg.experiments.build import model_of, system_of
from bayescg.experiments.recipes.recipe import OneFit, Stage
from bayescg.questions import Context

if TYPE_CHECKING:
    from bayescg.experiments.schema import Experiment

__all__ = ["SeedAndSimulate"]


class SeedAndSimulate(OneFit):
    """A loop of seeds, walkers of the same cost, questions of the rounds: averages of such frames mean nothing."""

    questions = ("seeded_rounds", "training")

    @classmethod
    def serves(cls, experiment: Experiment) -> bool:
        """A file with a section ``[seeds]``."""
        return experiment.compare is None and experiment.seeds is not None

    def stages(self) -> Iterator[Stage]:
        """The loop, and the walkers."""
        settings, simulation = self.experiment.seeds, self.experiment.simulation
        assert settings is not None
        assert simulation is not None
        each = f"{simulation.chains} trajectories of {simulation.time:g}"
        yield "seeds", f"at most {settings.rounds} rounds of {each}", self._seeds
        yield "continued", f"{len(self.run.history)} times as long, without new seeds", self._continued
        self.subject = f"{len(self.run.history)} rounds, until {self.run.reason}"

    def context(self) -> Context:
        """The last fit, all trajectories, and the walkers beside them."""
        settings, seed = self.experiment.analysis, self.experiment.run.seed
        peers = {"continued": self.walkers}
        return Context(self.run.fit, self.run.frames, settings, seed, system=self.system, peers=peers)

    def energies(self) -> int:
        """Those of the loop and of the walkers."""
        return 2 * self.run.history[-1].evaluations

    def _seeds(self) -> None:
        settings, simulation, run = self.experiment.seeds, self.experiment.simulation, self.experiment.run
        assert settings is not None
        assert simulation is not None
        fit = self.experiment.fit.model_dump(exclude={"held_out", "checkpoint_every"}, exclude_none=True)
        self.run = active(
            system_of(self.experiment), model_of(self.experiment, None, self.path), "seeds",
            quantity=self.experiment.analysis.seeds_quantity, seed=run.seed, out=self.path / "seeds",
            until={"rounds": settings.rounds, "sd": settings.sd}, starts=self._starts(), length=simulation.time,
            frame_every=simulation.frame_every, dt=simulation.dt, n=simulation.chains, lag=self.experiment.data.lag,
            explore=settings.explore, fit={**fit, "compile": run.compile, "device": run.device}, device=run.device,
        )  # fmt: skip

    def _continued(self) -> None:
        simulation, run = self.experiment.simulation, self.experiment.run
        assert simulation is not None
        stride = round(simulation.frame_every / simulation.dt)
        steps = len(self.run.history) * round(simulation.time / simulation.frame_every) * stride
        self.walkers = bcg.sampling.overdamped(
            system_of(self.experiment), steps, dt=simulation.dt, starts=self._starts(), stride=stride, seed=run.seed,
            device=run.device, run_dir=self.path / "continued", progress=False,
        )  # fmt: skip

    def _starts(self) -> np.ndarray:
        simulation = self.experiment.simulation
        assert simulation is not None
        assert simulation.start is not None
        return np.tile(np.array(simulation.start, np.float32), (simulation.chains, 1))
