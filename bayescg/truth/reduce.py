"""Which coordinates a question is about: parts of a system that it does not touch are left out, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.errors import ConfigError
from bayescg.systems.analytic import AnalyticSystem
from bayescg.systems.core import System
from bayescg.truth.grid import LARGEST

__all__ = ["Reduced", "analytic", "reduce"]

TRIALS = 8192
FEWEST = 20  # trials inside and outside of a set that tell which coordinates it concerns


@dataclass(frozen=True)
class Reduced:
    """A system of at most three coordinates that answers for a larger one.

    Attributes
    ----------
    system : AnalyticSystem
        The parts that matter, in one.
    project, lift : callable
        From the coordinates of the larger system to those of `system`, and back with the other parts at one place.
    """

    system: AnalyticSystem
    project: Callable[[Tensor], Tensor]
    lift: Callable[[Tensor], Tensor]


def analytic(system: System, box: Sequence[Any] | None, periodic: Sequence[bool] | bool | None) -> AnalyticSystem:
    """The system with its own box and parts, or undivided in a box that is given.

    Raises
    ------
    ConfigError
        There is no box, or it does not fit.
    """
    if box is None:
        if isinstance(system, AnalyticSystem):
            return system
        raise ConfigError(
            f"where does the probability of {system!r} lie? Give box=((lo, hi), ...), one pair for each coordinate"
        )
    if np.shape(box) != (system.dim, 2):
        raise ConfigError(f"box={box!r} needs (lo, hi) for each of the {system.dim} coordinates")
    wraps = None if periodic is None else np.broadcast_to(periodic, system.dim).tolist()
    return AnalyticSystem(system.energy, temperature_kT=system.kT, box=[tuple(pair) for pair in box], periodic=wraps)


def reduce(
    system: AnalyticSystem, functions: Sequence[Callable[[Tensor], Any]], dynamics: bool, whole: bool = False
) -> Reduced:
    """The parts on which any of the functions depends, found by trial at random points.

    Parameters
    ----------
    system : AnalyticSystem
    functions : sequence of callable
        From (n, dim) to (n,).
    dynamics : bool
        Whether these parts must also move by themselves.
    whole : bool
        Keep all parts, whatever the functions.

    Raises
    ------
    ConfigError
        They have more than three coordinates together, or do not move by themselves.
    """
    places = _places(system)
    if whole or len(system.parts) == 1:
        relevant = list(range(len(system.parts)))
    else:
        relevant = _relevant(system, functions, places) or [0]
    parts = [system.parts[k] for k in relevant]
    dims = [part.system.dim for part in parts]
    names = ", ".join(dict.fromkeys(part.name for part in parts))
    if sum(dims) > LARGEST:
        raise ConfigError(
            f"the answer depends on {sum(dims)} coordinates of {system!r} ({names}): truth is known for up to {LARGEST}"
        )
    if dynamics and not all(part.moves_alone for part in parts):
        raise ConfigError(
            f"the dynamics of {names} depends on the other coordinates of {system!r}: truth does not know it"
        )

    def project(x: Tensor) -> Tensor:
        return torch.cat([system.split(x)[k] for k in relevant], -1)

    def lift(z: Tensor) -> Tensor:
        full = [p[:1].expand(len(z), -1).to(z) for p in places]
        for k, values in zip(relevant, torch.split(z, dims, -1), strict=True):
            full[k] = values
        return system.join(full)

    def energy(z: Tensor) -> Tensor:
        pieces = torch.split(z, dims, -1)
        return torch.stack([part.system.energy(p) for part, p in zip(parts, pieces, strict=True)]).sum(0)

    joint = AnalyticSystem(
        energy,
        temperature_kT=system.kT,
        box=sum((part.system.box for part in parts), ()),
        periodic=sum((part.system.periodic for part in parts), ()),
    )
    return Reduced(joint, project, lift)


def _places(system: AnalyticSystem) -> list[Tensor]:
    """Random points in the box of each part, (trials, dim of the part)."""
    generator = torch.Generator().manual_seed(0)
    places = []
    for part in system.parts:
        low, high = torch.tensor(part.system.box, dtype=torch.float64).T
        uniform = torch.rand((TRIALS, part.system.dim), dtype=torch.float64, generator=generator)
        places.append(low + (high - low) * uniform)
    return places


def _relevant(system: AnalyticSystem, functions: Sequence[Callable[[Tensor], Any]], places: list[Tensor]) -> list[int]:
    """Numbers of the parts that move any function, by bisection over the parts."""
    before = [values_of(f, system.join(places)) for f in functions]
    if any(np.isin(b, (0.0, 1.0)).all() and not FEWEST <= b.sum() <= TRIALS - FEWEST for b in before):
        if system.dim <= LARGEST:
            return list(range(len(places)))
        raise ConfigError(
            f"a set holds nearly none or all of {TRIALS} random points of {system!r}, so that the coordinates that it "
            "concerns cannot be told: enlarge it, or ask about one of system.parts"
        )
    others = [p.roll(1, 0) for p in places]

    def search(numbers: list[int]) -> list[int]:
        x = system.join([others[k] if k in numbers else p for k, p in enumerate(places)])
        scale = [np.abs(b).max() + 1e-300 for b in before]
        change = [np.abs(values_of(f, x) - b).max() / s for f, b, s in zip(functions, before, scale, strict=True)]
        if max(change) < 1e-9:
            return []
        if len(numbers) == 1:
            return numbers
        half = len(numbers) // 2
        return search(numbers[:half]) + search(numbers[half:])

    return search(list(range(len(places))))


def values_of(function: Callable[[Tensor], Any], x: Tensor) -> np.ndarray:
    """Values of a function of coordinates (n, dim), as floats (n,).

    Raises
    ------
    ConfigError
        They have another shape, or are not finite.
    """
    if not callable(function):
        raise ConfigError(f"{function!r} must be a function of coordinates: lambda x: x[:, 0], say")
    with torch.no_grad():
        values = np.asarray(torch.as_tensor(function(x)).detach().double())
    if values.shape == (len(x), 1):
        values = values[:, 0]
    if values.shape != (len(x),):
        raise ConfigError(
            f"the function must map (n, {x.shape[-1]}) to (n,); for n = {len(x)} it returned {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ConfigError(f"the function is not finite at {x[int(np.argmin(np.isfinite(values)))].tolist()}")
    return values
