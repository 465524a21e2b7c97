"""What every kind of run is: stages in order, questions, and what they cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import bayescg as bcg
from bayescg import checkpoint, systems
from bayescg.data import Pairs, Stretches
from bayescg.experiments import build
from bayescg.inference import Fit
from bayescg.modelling import MapModel
from bayescg.questions.asking import answer, applying
from bayescg.questions.known import strays

if TYPE_CHECKING:
    from xarray import DataTree

    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment
    from bayescg.questions import Context, Finding

__all__ = ["OneFit", "Recipe", "fitted"]

Stage = tuple[str, str, Callable[[], None]]
"""Its name, a line on what it does, and what is to be done; what is complete on the disk is not made again."""


class Recipe(ABC):
    """A kind of run.

    Parameters
    ----------
    experiment : Experiment
    path : Path
        The run's directory.

    Attributes
    ----------
    subject : str
        What the questions are about, in a line; known when the stages are complete.
    """

    subject = ""

    def __init__(self, experiment: Experiment, path: Path):
        self.experiment, self.path = experiment, path

    @classmethod
    @abstractmethod
    def serves(cls, experiment: Experiment) -> bool:
        """Whether an experiment is of this kind."""

    @abstractmethod
    def stages(self) -> Iterator[Stage]:
        """What there is to do before anything can be asked; a stage is complete when the next one is wanted."""

    @abstractmethod
    def ask(self) -> Finding:
        """Ask the questions that apply."""

    @abstractmethod
    def posterior(self) -> DataTree | None:
        """Draws of the fit, where there is one."""

    @abstractmethod
    def fits(self) -> list[Fit]:
        """All fits of the run."""

    @abstractmethod
    def energies(self) -> int:
        """How many energies were evaluated."""

    @cached_property
    def system(self) -> Any:
        """What the frames or energies are of; None where the user's own are read, or a molecule's that none generates.

        Of coordinates of a toy system, their potential of mean force, where it is known.
        """
        named = self.experiment.system
        if named is None or self.experiment.data.frames is not None:
            return None
        maker = getattr(systems, named.name)
        model = self.experiment.model
        generates = model.arguments.get("generator") is not None or hasattr(build.model_class(model.name), "around")
        generated = generates and self.experiment.data.select is None
        wanted = isinstance(maker, type) or generated  # a molecule takes a while to make
        system = maker(**named.arguments) if wanted else None
        if (coordinates := self.experiment.data.coordinates) is None:
            return system
        return getattr(system, "mean_potential", None) if coordinates == ["x1"] else None


class OneFit(Recipe):
    """A run with one fit, about which everything is asked that applies.

    Attributes
    ----------
    single : Context
        What the questions were asked of.
    """

    single: Context
    questions: ClassVar[tuple[str, ...]] = ()
    """Names of those that are asked; of none, all that apply."""

    @abstractmethod
    def context(self) -> Context:
        """What the questions are asked of; its stages are complete."""

    def ask(self) -> Finding:
        """Ask the questions that apply."""
        self.single = self.context()
        finding = answer(self.single, applying(self.single, self.questions))
        finding.warnings += strays(self.single.settings.truth, finding.quantities)
        return finding

    def posterior(self) -> DataTree:
        """Draws of the parameters, and of CVs and predictions for frames of the training, or for weighted draws."""
        fit, frames = self.single.fit, self.single.train or self.single.frames
        draws = None if fit.weights.members else self.experiment.analysis.draws  # refits are not repeated
        return fit.posterior(draws, seed=self.experiment.run.seed, frames=frames)

    def fits(self) -> list[Fit]:
        """The one."""
        return [self.single.fit]


def fitted(experiment: Experiment, train: Frames | None, saved: Path, trajectories: Path, **more: Any) -> Fit:
    """The fit in a directory, trained where there is none.

    What is asked is what is on the disk, in the same place whether or not the run was interrupted, and of the frames
    that it was trained on.

    Parameters
    ----------
    experiment : Experiment
    train : Frames or None
    saved : Path
        Of the fit.
    trajectories : Path
        Of the simulation.
    **more
        Further arguments of :func:`bayescg.fit`.
    """
    model_class, there, lag = build.model_class(experiment.model.name), saved / "fit.json", experiment.data.lag
    data = train if train is None or lag is None else train.lagged(lag)
    if not there.exists():
        bcg.fit(
            build.model_of(experiment, train, trajectories),
            data,
            **experiment.fit.model_dump(exclude={"held_out"}),
            **experiment.run.model_dump(exclude={"quick"}),
            **more,
        ).save(saved)
    if issubclass(model_class, MapModel) or not build.learns_from_frames(experiment):  # it is given its system again
        fit = Fit.load(saved, model=build.model_of(experiment, train, trajectories))
    elif ":" not in experiment.model.name:
        fit = Fit.load(saved)
    else:
        config = checkpoint.read(there)[1]["config"]  # of a class that is not registered
        fit = Fit.load(saved, model=model_class.from_config(config))
    fit.frames = data.frames if isinstance(data, Pairs | Stretches) else data  # which no file of a fit holds
    return fit
