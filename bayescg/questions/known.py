"""What is known of a system exactly, by quadrature or from a reference, to stand beside what is found."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from bayescg.arguments import did_you_mean
from bayescg.errors import ConfigError, TopologyError
from bayescg.features.observables import NAMES
from bayescg.features.torsions import KINDS, find_torsions

if TYPE_CHECKING:
    from torch import Tensor

    from bayescg.questions.finding import Finding
    from bayescg.truth import ExactFreeEnergy

__all__ = [
    "Coordinate",
    "by_quadrature",
    "check_names",
    "exact_average",
    "exact_profile",
    "interval",
    "is_coordinate",
    "note_given",
    "of_system",
    "reference_profile",
    "state",
    "strays",
]

T = TypeVar("T")

_DIGITS = 1e-3
_MOST_TORSIONS = 24


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


def by_quadrature(system: Any, value: Callable[[Any], T]) -> T | None:
    """What `value` is of an analytic system; None of others, and where too many dimensions hang together.

    Examples
    --------
    >>> from bayescg import systems, truth
    >>> round(by_quadrature(systems.DoubleWell(), lambda system: truth.log_partition(system).value), 5)
    12.06493
    """
    from bayescg.systems.analytic import AnalyticSystem

    if isinstance(system, AnalyticSystem):
        with suppress(ConfigError):
            return value(system)
    return None


@dataclass(frozen=True)
class Named:
    """An observable of a system by its name there."""

    system: Any
    name: str

    def __call__(self, x: Tensor) -> Tensor:
        """Its values, (n,), in configurations (n, ...)."""
        return self.system.observables[self.name](x.flatten(1))


def of_system(system: Any, name: str) -> Coordinate | Named | None:
    """The function that a name stands for: a coordinate, or an observable of the system; None for any other."""
    if is_coordinate(name):
        return Coordinate(name)
    return Named(system, name) if name in getattr(system, "observables", {}) else None


def interval(system: Any, named: tuple[str, Sequence[float]]) -> Callable[[Tensor], Tensor]:
    """Whether an observable of a system, or of its molecule, lies in an interval; angles in degrees.

    Parameters
    ----------
    system : System
    named : (str, (float, float))
        Name of the observable, and the ends of the interval: an upper one below the lower goes around.
    """
    from bayescg.features.observables import from_names
    from bayescg.topologies import read_topology

    name, (low, high) = named
    function = of_system(system, name)
    if function is None:
        (function,) = from_names([name], read_topology(system.topology)[0])
    if getattr(function, "unit", "") == "rad":
        low, high = np.deg2rad(low), np.deg2rad(high)

    def inside(x: Tensor) -> Tensor:
        value = function(x)
        return (value >= low) & (value < high) if low < high else (value >= low) | (value < high)

    return inside


def state(system: Any, regions: Mapping[str, Mapping[str, Sequence[float]]], name: str) -> Callable[[Tensor], Tensor]:
    """Whether configurations are in a state of a system, or else in a region of ``[analysis]``.

    Raises
    ------
    ConfigError
        There is none of this name.
    """
    states = getattr(system, "states", {})
    if name not in states and name not in regions:
        known_ones = [*states, *regions]
        raise ConfigError(f"no state is called {name!r}: {did_you_mean(name, known_ones)}use one of {known_ones}")
    return states[name] if name in states else interval(system, *regions[name].items())


@lru_cache(maxsize=16)
def exact_average(system: Any, function: Any) -> float | None:
    """Average of a coordinate or an observable of an analytic system; None of any other."""
    from bayescg import truth

    if not isinstance(function, Coordinate | Named):
        return None
    return by_quadrature(system, lambda analytic: truth.expectation(analytic, function).value)


@lru_cache(maxsize=16)
def exact_profile(system: Any, name: str, bins: tuple[float, ...] | int = 80) -> ExactFreeEnergy | None:
    """Free energy over a coordinate or an observable of an analytic system; None where nothing gives it."""
    from bayescg import truth

    function = of_system(system, name)
    if function is None:
        return None
    edges = bins if isinstance(bins, int) else np.array(bins)
    return by_quadrature(system, lambda system: truth.free_energy(system, function, bins=edges))


def reference_profile(reference_name: str | None, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Edges and shares of a torsion's histogram in the reference, where there is one."""
    from bayescg.questions.references import load_reference

    if reference_name is None:
        return None
    reference = load_reference(reference_name)
    for residue, pair in reference.torsions.items():
        if name in pair:
            return reference.edges, reference.planes[residue].probability.sum(1 - pair.index(name))
    return None


def note_given(finding: Finding, given: dict[str, float]) -> None:
    """Put the values of ``[analysis.truth]`` beside quantities of which nothing better is known.

    A number in a file is that of one temperature and one set of parameters. Where it is not the system's, a warning
    says so.
    """
    for name, value in given.items():
        exact = finding.truth.get(name)
        if exact is None:
            finding.truth[name] = value
        elif abs(value - exact) > _DIGITS * max(1.0, abs(exact)):
            finding.warnings.append(
                f"analysis.truth.{name} = {value:g} is not that of this system, whose {finding.truth_is} is "
                f"{exact:.6g}: the latter is taken"
            )


def strays(given: Iterable[str], quantities: Iterable[str]) -> list[str]:
    """Warnings of values in ``[analysis.truth]`` that are of no quantity that was found.

    Examples
    --------
    >>> strays({"timescale": 3.0, "eigenvalue_1": 0.3}, ["timescale_1", "x1"])
    ['analysis.truth.timescale is of no quantity of this run: did you mean "timescale_1"? There are timescale_1, x1']
    """
    there, swap = list(quantities), {"eigenvalue": "timescale", "timescale": "eigenvalue"}
    warnings = []
    for name in given:
        kind, _, mode = name.partition("_")
        if name not in there and f"{swap.get(kind, kind)}_{mode}" not in there:  # each tells the other
            listed = f"There are {', '.join(there)}" if there else "There are none"
            warnings.append(f"analysis.truth.{name} is of no quantity of this run: {did_you_mean(name, there)}{listed}")
    return warnings


def check_names(settings: Any, topology: Any, coordinates: int | None, named: Collection[str] = ()) -> None:
    """Refuse observables, torsions and regions of what nothing has, before anything is computed.

    Parameters
    ----------
    settings : Analysis
    topology : mdtraj or OpenMM topology, or None
        Of the molecule.
    coordinates : int or None
        Of a system of which x1, x2, ... are observables; 0 for none, None where their number is not known.
    named : collection of str
        Observables of the system.

    Raises
    ------
    ConfigError
    """
    for name in settings.observables or []:
        _labels("analysis.observables", name, topology, coordinates, named)
    torsions = [
        t for name in settings.torsions for t in _labels("analysis.torsions", name, topology, coordinates, named)
    ]
    if len(torsions) > _MOST_TORSIONS:
        raise ConfigError(
            f"analysis.torsions names {len(torsions)} torsions, and each has figures of its own: name at most "
            f"{_MOST_TORSIONS}, such as {torsions[0]!r}"
        )
    for region, interval in settings.regions.items():
        (name,) = interval
        labels = _labels(f"analysis.regions.{region}", name, topology, coordinates, named)
        if len(labels) > 1:
            raise ConfigError(f'analysis.regions.{region}: "{name}" is each of {", ".join(labels)}; name one of them')


def _labels(key: str, name: str, topology: Any, coordinates: int | None, named: Collection[str]) -> list[str]:
    """What a name stands for: a coordinate, or an observable of the molecule, or every torsion of a kind."""
    if is_coordinate(name) and (coordinates is None or int(name[1:]) <= coordinates):
        return [name]
    if name in named:
        return [name]
    possible = [*named] if topology is None else [*named, *NAMES]
    if coordinates != 0:
        possible.append("x1" if coordinates == 1 else f"x1 to x{coordinates}" if coordinates else "x1, x2, ...")
    if topology is not None and name.partition(" ")[0] in KINDS:
        try:
            return [label for _, label in find_torsions(topology, name)]
        except TopologyError as error:
            raise ConfigError(f'{key} = "{name}": {error}') from None
    if topology is not None and name in NAMES:
        return [name]
    size = f"the system has {coordinates} coordinate{'s'[: coordinates > 1]}; " if coordinates else ""
    hint = size if is_coordinate(name) else did_you_mean(name, possible)
    raise ConfigError(f'{key} = "{name}": {hint}use one of {", ".join(possible)}')
