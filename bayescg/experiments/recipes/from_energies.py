"""One model that learns from the energies of a system: train, and ask about its own reweighted draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bayescg.experiments import build
from bayescg.experiments.recipes.recipe import OneFit, Stage, fitted
from bayescg.questions import Context

if TYPE_CHECKING:
    from bayescg.experiments.schema import Experiment

__all__ = ["FromEnergies"]


class FromEnergies(OneFit):
    """Fit, questions."""

    @classmethod
    def serves(cls, experiment: Experiment) -> bool:
        """A model that queries a system, alone."""
        return experiment.compare is None and not build.learns_from_frames(experiment)

    def stages(self) -> Iterator[Stage]:
        """The fit."""
        assert self.experiment.system is not None
        yield "fit", f"{self.experiment.model.name} on the energies of {self.experiment.system.name}", self._fit
        self.subject = f"{self.experiment.analysis.samples} weighted draws"

    def context(self) -> Context:
        """The fit and its weighted draws."""
        settings, seed = self.experiment.analysis, self.experiment.run.seed
        draws = self.fit.samples(settings.samples, seed)
        return Context(self.fit, draws, settings, seed, system=getattr(self.fit.model, "system", None))

    def energies(self) -> int:
        """Those of the training and of the weighted draws."""
        return self.fit.cost["energy_evaluations"] + self.single.frames.provenance["energy_evaluations"]

    def _fit(self) -> None:
        self.fit = fitted(self.experiment, None, self.path / "fit", self.path, run_dir=self.path)
