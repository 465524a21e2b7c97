"""Whether the atoms of a simulation are those that a fit was made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bayescg.errors import ConfigError, TopologyError
from bayescg.features.topology import atom_label
from bayescg.topologies import read_topology

__all__ = ["checked_atoms"]


def checked_atoms(count: int, frames: Any, top: Any, atoms: Sequence[int] | None) -> list[int]:
    """The number in a simulation of each of the `count` atoms of a fit, whose `frames` may be at hand.

    Where both the topology of the simulation and that of the frames of the fit are at hand, the names of all atoms are
    compared.

    Raises
    ------
    ConfigError
        `atoms` are not so many different numbers.
    TopologyError
        The simulation has fewer atoms, others, or more and nobody says which of them.
    """
    numbers = list(range(count)) if atoms is None else [int(i) for i in atoms]
    if len(numbers) != count or len(set(numbers)) != count or min(numbers) < 0:
        raise ConfigError(
            f"atoms= must name each of the {count} atoms of the fit once, by its number from 0 in the simulation; "
            f"got {len(numbers)} numbers, {len(set(numbers))} of them different, the least {min(numbers, default=0)}"
        )
    if top is None:
        return numbers
    simulated, _ = read_topology(top)
    if max(numbers) >= simulated.n_atoms:
        raise TopologyError(
            f"the fit knows {count} atoms, and atom {max(numbers)} does not exist in this topology of "
            f"{simulated.n_atoms}, numbered from 0: use the topology of the molecule that was fitted"
        )
    fitted = getattr(frames, "topology", None)
    if fitted is None:
        return numbers
    for i, number in enumerate(numbers):
        ours, theirs = fitted.atom(i), simulated.atom(number)
        if (ours.name, ours.residue.name) != (theirs.name, theirs.residue.name):
            raise TopologyError(
                f"atom {atom_label(fitted, i)} of residue {ours.residue.name} of the fit would be "
                f"{atom_label(simulated, number)} of residue {theirs.residue.name} in this topology: give atoms=, the "
                "number from 0 that each atom of the fit has there"
            )
    return numbers
