"""One model that learns from the energies of a system: train, and ask about its own reweighted draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bayescg.experiments import build
from bayescg.experiments.recipes.from_frames import posterior
from bayescg.experiments.recipes.recipe import Recipe, Stage, fitted
from bayescg.questions import Context
from bayescg.questions.asking import answer, applying

if TYPE_CHECKING:
    from xarray import DataTree

    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit
    from bayescg.questions import Finding

__all__ = ["FromEnergies"]


class FromEnergies(Recipe):
    """Fit, questions."""

    @classmethod
    def serves(cls, experiment: Experiment) -> bool:
        """A model that queries a system, alone."""
        return experiment.compare is None and not build.model_class(experiment.model.name).needs_frames

    def stages(self) -> Iterator[Stage]:
        """The fit."""
        assert self.experiment.system is not None
        yield "fit", f"{self.experiment.model.name} on the energies of {self.experiment.system.name}", self._fit
        self.subject = f"{self.experiment.analysis.samples} weighted draws"

    def ask(self) -> Finding:
        """What applies to the fit and its draws."""
        seed = self.experiment.run.seed
        self.draws = self.fit.samples(self.experiment.analysis.samples, seed)
        context = Context(
            fit=self.fit,
            frames=self.draws,
            settings=self.experiment.analysis,
            seed=seed,
            system=getattr(self.fit.model, "system", None),
        )
        return answer(context, applying(context))

    def posterior(self) -> DataTree:
        """Draws of the parameters, and of the CVs of weighted draws."""
        return posterior(self.fit, self.experiment, self.draws)

    def fits(self) -> list[Fit]:
        """The one."""
        return [self.fit]

    def energies(self) -> int:
        """Those of the training and of the weighted draws."""
        return self.fit.cost["energy_evaluations"] + self.draws.provenance["energy_evaluations"]

    def _fit(self) -> None:
        self.fit = fitted(self.experiment, None, self.path / "fit", self.path, run_dir=self.path)
