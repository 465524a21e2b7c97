"""What is known of a system exactly, by quadrature, beside what a run finds of it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bayescg import truth
from bayescg.errors import ConfigError
from bayescg.systems.analytic import AnalyticSystem

if TYPE_CHECKING:
    from bayescg.experiments.schema import Analysis
    from bayescg.questions.predictions import Answers

__all__ = ["Coordinate", "difference_name", "exact_values", "is_coordinate", "note_truth"]

_DIGITS = 1e-3


@dataclass(frozen=True)
class Coordinate:
    """A flat coordinate of a configuration by name: x1, x2, ..."""

    name: str

    def __call__(self, x: Tensor) -> Tensor:
        """Its values, (n,), in configurations (n, ...)."""
        return x.flatten(1)[:, int(self.name[1:]) - 1]


def is_coordinate(name: str) -> bool:
    """Whether an observable is a coordinate of a system without a topology.

    Examples
    --------
    >>> is_coordinate("x1"), is_coordinate("rg")
    (True, False)
    """
    return re.fullmatch(r"x[1-9]\d*", name) is not None


def difference_name(settings: Analysis, a: str, b: str) -> str:
    """What a summary calls the free energy of region `b` minus that of `a`, where no frames were given."""
    return "free_energy_difference" if len(settings.differences) == 1 else f"free_energy_{a}_to_{b}"


def exact_values(system: Any, settings: Analysis) -> dict[str, float]:
    """Quantities of a summary by quadrature: log Z, averages, populations, free-energy differences.

    Parameters
    ----------
    system : System
        Of :mod:`bayescg.systems`, with its arguments: what is known follows the system, at any temperature.
    settings : Analysis

    Returns
    -------
    dict of str to float
        By name; without those that quadrature does not reach, empty for a molecule.

    Examples
    --------
    >>> from bayescg.experiments import load
    >>> from bayescg.systems import DoubleWell
    >>> found = exact_values(DoubleWell(), load("double-well").analysis)
    >>> round(found["free_energy_difference"], 4), round(found["log_z"], 5), round(found["x1"], 5)
    (4.7776, 12.06493, -2.4411)
    """
    if not isinstance(system, AnalyticSystem):
        return {}
    found: dict[str, float] = {}
    with suppress(ConfigError):  # too many dimensions that hang together
        found["log_z"] = truth.log_partition(system).value
    for name in filter(is_coordinate, settings.observables):
        with suppress(ConfigError):
            found[name] = truth.expectation(system, Coordinate(name)).value
    profiles: dict[str, truth.ExactFreeEnergy] = {}
    for name, region in settings.regions.items():
        ((observable, bounds),) = region.items()
        with suppress(ConfigError):
            if observable not in profiles and is_coordinate(observable):
                profiles[observable] = truth.free_energy(system, Coordinate(observable))
            if observable in profiles:
                found[f"population_{name}"] = profiles[observable].population((bounds[0], bounds[1])).value
    for a, b in settings.differences:
        (observable,) = settings.regions[a]
        start, end = (settings.regions[r][observable] for r in (a, b))
        with suppress(ConfigError):
            if observable in profiles:
                exact = profiles[observable].difference((start[0], start[1]), (end[0], end[1]))
                found[difference_name(settings, a, b)] = exact.value
    return found


def note_truth(settings: Analysis, answers: Answers, system: Any = None) -> None:
    """Write what is known beside each quantity and landscape: by the system itself, else by ``[analysis.truth]``.

    A number in a file is that of one temperature and one set of parameters. Where it is not the system's, a warning
    says so.
    """
    exact = exact_values(system, settings)
    for name, value in settings.truth.items():
        if name in exact and abs(value - exact[name]) > _DIGITS * max(1.0, abs(exact[name])):
            answers.warnings.append(
                f"analysis.truth.{name} = {value:g} is not that of this system, which is {exact[name]:.6g} by "
                "quadrature: the latter is taken"
            )
    for name, value in (settings.truth | exact).items():
        if name in answers.quantities:
            answers.quantities[name]["truth"] = value
    if isinstance(system, AnalyticSystem):
        for name in filter(is_coordinate, answers.landscapes):
            (edges,) = answers.landscapes[name].edges
            with suppress(ConfigError):
                exact_profile = truth.free_energy(system, Coordinate(name), bins=edges).profile.values
                answers.known[name] = edges, np.exp(-exact_profile)
