"""What every question is, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import bayescg as bcg
from bayescg.questions.finding import Finding
from bayescg.questions.sections import Section

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from bayescg.analysis import FreeEnergy
    from bayescg.data import Frames
    from bayescg.modelling import Model

__all__ = ["Context", "Question", "Scale"]

T = TypeVar("T")

Scale = tuple[Callable[["np.ndarray"], "np.ndarray"], Callable[["np.ndarray"], "np.ndarray"]]
"""To values whose errors are about Gaussian, and back."""


@dataclass(frozen=True)
class Context:
    """What is asked about, and how.

    Attributes
    ----------
    fit : Fit
        In a study of several methods also a function that nobody learned, from positions to ``(n, functions)``.
    frames : Frames
        What averages are over: all frames, or reweighted draws of the fit's own (:meth:`bayescg.Fit.samples`).
    settings : Analysis
        All settings of ``[analysis]``.
    seed : int
    train, test : Frames or None
        Of the frames, those that the fit was trained on, and those that it has not seen.
    system : System or None
        What the frames are of, where it is known.
    lag : float or None
        One for all methods of a study.
    simulated : Frames or None
        Of dynamics of what was learned, divided among draws of its parameters where there are any.
    at_trained : Frames or None
        Of dynamics at the trained values, beside those of draws.
    peers : mapping of str to Frames or None
        Of dynamics by other integrators, by their names; None of one that left the range of numbers.
    beside : mapping of str to Fit
        Of other models of the same frames, trained on the same of them, by name.
    """

    fit: Any
    frames: Frames
    settings: Any
    seed: int = 0
    train: Frames | None = None
    test: Frames | None = None
    system: Any = None
    lag: float | None = None
    simulated: Frames | None = None
    at_trained: Frames | None = None
    peers: Mapping[str, Frames | None] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def weighted(self) -> bool:
        """Whether the frames are reweighted draws of the fit's own."""
        return "pareto_k" in self.frames.provenance

    @property
    def observables(self) -> list[str]:
        """Names of the observables that averages are asked of."""
        if self.settings.observables is not None:
            return self._labels(self.settings.observables)
        if self.frames.topology is not None:
            return ["rg", "rmsd", "end_to_end"]
        size = self.frames.positions[0].size
        return [f"x{k + 1}" for k in range(min(size, 3))]

    @property
    def torsions(self) -> list[str]:
        """Names of the torsions, every one of a kind that is named."""
        return self._labels(self.settings.torsions)

    @property
    def planes(self) -> dict[str, list[str]]:
        """Pairs of torsions that are drawn against each other: phi and psi, by residue where there are several."""
        names = self.torsions
        if len(names) == 2:
            return {"": names}
        residues = [phi.removeprefix("phi ") for phi in names if phi.startswith("phi ")]
        return {f" {r}": [f"phi {r}", f"psi {r}"] for r in residues if f"psi {r}" in names}

    def functions(self, names: Sequence[str]) -> list[Callable[..., Any]]:
        """Observables by their names, as functions of positions; one for each torsion of a kind."""
        from bayescg.analysis.evaluation import named_observables
        from bayescg.questions.known import of_system

        observables = [of_system(self.system, name) or name for name in names]
        return named_observables(observables, self.fit, self.frames)

    def _labels(self, names: Sequence[str]) -> list[str]:
        from bayescg.analysis.evaluation import label

        return [label(function) for function in self.functions(names)]

    def landscape(self, *names: str) -> FreeEnergy:
        """Free energy over one or two observables, or over the CVs of the fit where none is named; made once."""
        settings: dict[str, Any] = {"draws": self.settings.draws, "level": self.settings.level, "seed": self.seed}
        cv = self.functions(names) if names else None
        make = lambda: bcg.analysis.free_energy(self.fit, self.frames, cv=cv, **settings)  # noqa: E731
        return self.once(("landscape", names), make)

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` returns, made once for all questions that need it."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def forget(self) -> None:
        """Drop what was made for several questions, when all of them are answered."""
        self._kept.clear()


class Question(ABC):
    """One thing to ask of a fit and its frames.

    A subclass writes `applies` and `ask`, in a file of its own, and stands in the list of
    ``bayescg/questions/reading_order.py``, which is in reading order.

    Attributes
    ----------
    Settings : type of Section
        Its own keys of ``[analysis]``, each with a default.
    scales : dict of str to Scale
        Of quantities, by name: where a mean over data sets and its interval are to be taken. The others' is the plain
        one.
    """

    Settings: ClassVar[type[Section]] = Section
    scales: ClassVar[Mapping[str, Scale]] = {}

    @property
    def name(self) -> str:
        """That of its file."""
        return type(self).__module__.rpartition(".")[2]

    def check(self, experiment: Any, model: type[Model]) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse settings of an experiment that cannot be, before anything is computed.

        Raises
        ------
        ConfigError
        """

    @abstractmethod
    def applies(self, context: Context) -> bool:
        """Whether a run asks it."""

    @abstractmethod
    def ask(self, context: Context) -> Finding:
        """The answer."""

    def beside(self) -> dict[str, Callable[..., Any]]:
        """Functions that nobody learned, by name, which a study of several methods asks about as well."""
        return {}

    def numbers(self, finding: Finding) -> xr.Dataset:
        """What a study lays side by side of an answer, over methods and data sets: the means of its quantities."""
        import xarray as xr

        return xr.Dataset({name: quantity.mean for name, quantity in finding.quantities.items()})

    def compare(self, table: xr.Dataset, contexts: Mapping[str, Sequence[Context]], order: Sequence[str]) -> Finding:
        """What a study says of its methods: conclusions and figures.

        Parameters
        ----------
        table : Dataset
            The `numbers` of each method and data set, with dimensions ``model`` and ``replicate``; NaN where there is
            none.
        contexts : mapping
            What was asked about, for each method and data set.
        order : sequence of str
            Methods that are expected to fall behind all others, the worst first.
        """
        from bayescg.questions.studies import told_apart

        return told_apart(table, order)
