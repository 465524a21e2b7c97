"""Populations of regions, free-energy differences between them, and profiles over observables and CVs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import bayescg as bcg
from bayescg.errors import DataError
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.known import exact_profile, is_coordinate, reference_profile
from bayescg.questions.question import Context, Question

if TYPE_CHECKING:
    from bayescg.analysis import FreeEnergy

__all__ = ["FreeEnergies", "difference_name", "profiled"]

_FEWEST = 10
_REMEDY = "raise analysis.samples, or train for longer"
_TAILS = 15.0
"""From here on up, in kT, a free energy without an error bar is in no one's way."""


class FreeEnergies(Question):
    """Free energies over what the settings name, and over the CVs."""

    def applies(self, context: Context) -> bool:
        """Where there are regions; else to all fits but those that learned functions of slow modes."""
        from bayescg.modelling import HasBasis

        return bool(context.settings.regions) or not isinstance(context.fit.model, HasBasis)

    def ask(self, context: Context) -> Finding:
        """Populations, differences and landscapes."""
        from bayescg.analysis.free_energy.sparse import remedy

        finding = Finding()
        landscapes = self._landscapes(finding, context)
        for name, region in context.settings.regions.items():
            ((observable, bounds),) = region.items()
            self._population(finding, context, name, observable, bounds)
        for a, b in context.settings.differences:
            (observable,) = context.settings.regions[a]
            landscape = context.landscape(observable)
            start, end = (landscape.from_degrees(context.settings.regions[r][observable]) for r in (a, b))
            exact = exact_profile(context.system, observable)
            exact_value = None if exact is None else exact.difference(start, end).value
            finding.add(difference_name(context, a, b), landscape.difference(start, end), exact_value)
        for name, landscape in landscapes.items():
            finding.figures[f"free_energy_{name}"] = self._drawing(context, name, landscape)
        finding.warnings += _of_note(context, list(landscapes.values()))
        if context.weighted:  # what to do in the words of an experiment's file
            finding.warnings = [w.replace(remedy(context.frames), _REMEDY) for w in finding.warnings]
        return finding

    def _landscapes(self, finding: Finding, context: Context) -> dict[str, FreeEnergy]:
        """By the names of their figures."""
        from bayescg.modelling import HasCV

        landscapes = {name: context.landscape(name) for name in profiled(context)}
        landscapes |= {f"torsions{of}": context.landscape(*pair) for of, pair in context.planes.items()}
        if isinstance(context.fit.model, HasCV) and self._cvs(context) <= 2:
            try:
                landscapes["cv"] = context.landscape()
            except DataError as error:  # of CVs that no two refits agree on, no bin may be visited twice
                finding.warnings.append(f"no free energy over the CVs: {error}")
        plane = [name for name in context.observables if is_coordinate(name)]
        if len(plane) == 2:
            landscapes["plane"] = context.landscape(*plane)
        return landscapes

    @staticmethod
    def _cvs(context: Context) -> int:
        """How many CVs there is a free energy over."""
        return context.fit.model.fixed_cvs or context.fit.cv(context.frames.gather([0])).event_shape[0]

    def _population(self, finding: Finding, context: Context, name: str, observable: str, bounds: list[float]) -> None:
        landscape = context.landscape(observable)
        ends = landscape.from_degrees(bounds)
        population = landscape.population(ends)
        if context.weighted and not population.warning and (beside := landscape.effective_outside(ends)) < _FEWEST:
            few = f"only {beside:.1f} effective draws lie elsewhere, fewer than {_FEWEST}"
            population = replace(population, ci90=None, warning=f"{few}: how much less it holds is not known")
        exact = exact_profile(context.system, observable)
        finding.add(f"population_{name}", population, None if exact is None else exact.population(ends).value)
        if population.warning and population.warning != landscape.doubt:  # which is said of all
            finding.warnings.append(f"population of {name}: {population.warning}")

    def _drawing(self, context: Context, name: str, landscape: FreeEnergy) -> Drawing:
        histogram, called, edges = None, "reference", landscape.edges[0]
        if len(landscape.edges) == 1:
            histogram = reference_profile(context.settings.reference, name)
            if (exact := exact_profile(context.system, name, tuple(edges))) is not None:
                histogram, called = (edges, np.exp(-exact.profile.values)), "exact"
        over = " and ".join(landscape.names)
        return Drawing(
            lambda: bcg.plot.free_energy(landscape, histogram, called),
            f"Free energy over {over}, {_uncertainty(context)}.",
            f"Free energy in kT over {over}",
        )


def profiled(context: Context) -> list[str]:
    """Names of the observables over which there is a profile."""
    settings = context.settings
    names = [n for n in context.observables if context.weighted and not is_coordinate(n)] + context.torsions
    names += [observable for region in settings.regions.values() for observable in region]
    return list(dict.fromkeys(names))


def difference_name(context: Context, a: str, b: str) -> str:
    """What the free energy of region `b` minus that of region `a` is called."""
    alone = len(context.settings.differences) == 1
    return "free_energy_difference" if alone else f"free_energy_{a}_to_{b}"


def _uncertainty(context: Context) -> str:
    if not context.weighted:
        return "with its uncertainty from blocks of frames"
    if "refits" in context.frames.provenance:
        return "from reweighted draws, with its uncertainty from the spread of the refits, up to 25 kT"
    return "from reweighted draws, up to 25 kT, with the uncertainty of their number: no band holds what none visits"


def _of_note(context: Context, landscapes: list[FreeEnergy]) -> list[str]:
    """Warnings of landscapes, those of all at once without a name.

    Left out are those of bins that have no band where these are all far up in the tails, and that nobody has looked for
    what is missing, where that is the settings' wish.
    """
    from bayescg.analysis.free_energy.estimate import UNAUDITED

    notes, wished = [], () if context.settings.audit else (UNAUDITED,)
    for landscape in landscapes:
        within = (landscape.untold & (landscape.mean.values < _TAILS)).any()
        over = ", ".join(landscape.names)
        telling = [w for w in landscape.warnings if w not in wished]
        notes += [(over, w) for w in telling if within or not w.startswith("no band for")]
    counts = Counter(warning for _, warning in notes)
    return list(dict.fromkeys(w if counts[w] > 1 else f"free energy over {over}: {w}" for over, w in notes))
