"""A potential that asks for what it learns from: simulate with it, label, learn, again, beside a random choice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg.experiments.acquisition import ActiveRun, active
from bayescg.experiments.build import model_of, system_of
from bayescg.experiments.recipes.from_frames import FromFrames, source
from bayescg.experiments.recipes.recipe import Stage
from bayescg.inference import Fit
from bayescg.questions import Context, Finding, Table

if TYPE_CHECKING:
    from bayescg.experiments.schema import Experiment

__all__ = ["LabelAndLearn"]


class LabelAndLearn(FromFrames):
    """Frames, labels chosen by what they tell, labels chosen at random, questions."""

    @classmethod
    def serves(cls, experiment: Experiment) -> bool:
        """A file with a section ``[labels]``."""
        return experiment.compare is None and experiment.labels is not None

    def stages(self) -> Iterator[Stage]:
        """Frames, which begin the loops and judge them, and two loops."""
        settings = self.experiment.labels
        assert settings is not None
        yield "frames", source(self.experiment), self._frames
        last = settings.first + (settings.rounds - 1) * settings.batch
        yield "labels", f"{settings.first} to {last} labels where the forces are least certain", self._informed
        yield "random", "as many, of any configurations that the potential visits", self._random
        self.subject = f"{len(self.frames)} frames, {len(self.test)} of them to judge by; {last} labels"

    def context(self) -> Context:
        """The fit to the labels that were asked for, and the frames of the system."""
        settings, seed = self.experiment.analysis, self.experiment.run.seed
        return Context(self.fit, self.frames, settings, seed, self.informed.frames, self.test, self.system)

    def ask(self) -> Finding:
        """What applies, and the errors of both loops, round by round."""
        x = torch.as_tensor(self.test.gather(slice(None))).flatten(1)
        truth = np.asarray(self.test.forces).reshape(len(self.test), -1)

        def error(run: ActiveRun, number: int) -> float:
            model: Any = model_of(self.experiment, None, self.path)
            with torch.random.fork_rng(devices=[]):
                model.setup(run.frames)
            fit = Fit.load(run.path / f"round-{number:03d}" / "fit", model=model)
            return float(np.sqrt(np.mean(np.square(fit.system().forces(x).cpu().numpy() - truth))))

        rows = [
            (
                str(a.frames),
                f"{error(self.informed, a.number):.3g}",
                f"{error(self.anyhow, b.number):.3g}",
                f"{a.sd:.3g}",
            )
            for a, b in zip(self.informed.history, self.anyhow.history, strict=True)
        ]
        loops = Finding()
        loops.tables["Labels"] = Table(
            ("labels", "force error, chosen", "force error, random", "uncertainty, chosen"),
            rows,
            "Root mean square errors of the forces of held-out frames. The uncertainty is that of the forces in the "
            "configurations which the potential visits itself.",
        )
        return Finding.of([loops, super().ask()])

    def energies(self) -> int:
        """Those of the simulation, and the labels."""
        return super().energies() + self.informed.history[-1].evaluations + self.anyhow.history[-1].evaluations

    def _informed(self) -> None:
        self.informed = self._loop("information")
        self.fit = self.informed.fit

    def _random(self) -> None:
        self.anyhow = self._loop("random")

    def _loop(self, choice: str) -> ActiveRun:
        settings, run = self.experiment.labels, self.experiment.run
        assert settings is not None
        arguments = settings.model_dump()
        fit = self.experiment.fit.model_dump(exclude={"held_out", "checkpoint_every"})
        return active(
            system_of(self.experiment), model_of(self.experiment, self.train, self.path), "labels",
            until={"rounds": arguments.pop("rounds")}, out=self.path / choice, configurations=self.train, choice=choice,
            seed=run.seed, fit={**fit, "compile": run.compile, "device": run.device}, **arguments,
        )  # fmt: skip
