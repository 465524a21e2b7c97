"""Frames from the arrays of a sampler, with everything that a system says about itself."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_numbers
from bayescg.data import Frames
from bayescg.data.frame_checks import places
from bayescg.errors import ConfigError
from bayescg.systems.core import System

if TYPE_CHECKING:
    import mdtraj

__all__ = ["heated", "masses", "to_frames"]


def heated(system: System, heat: float) -> System:
    """The system at so many times its temperature, to be simulated; what it knows exactly stays that of its own.

    Raises
    ------
    ConfigError
        `heat` is less than 1.
    """
    check_numbers(heat=(heat, "[1, inf)"))
    hot = copy.copy(system)
    hot.kT, hot.temperature = heat * system.kT, None if system.temperature is None else heat * system.temperature
    return hot


def to_frames(
    system: System,
    x: np.ndarray,
    provenance: Mapping[str, Any],
    *,
    dt: float | None = None,
    ordered: bool = False,
    trajectory: np.ndarray | None = None,
    **rest: Any,
) -> Frames:
    """Frames of a system: nm, K and a topology for molecules, reduced units otherwise.

    Parameters
    ----------
    system : System
    x : numpy.ndarray, shape (n, dim)
    provenance : mapping
        With the name of the sampler and its cost. Of a batch of potentials ``potential_draws``, their number, is added:
        trajectories are divided among them in order.
    dt : float, optional
        Time between frames.
    ordered : bool
        Whether frames follow from each other although there is no time between them.
    trajectory : numpy.ndarray, shape (n,), optional
    rest
        Energies, forces or weights.
    """
    molecule = system.topology is not None
    frames = Frames.from_numpy(
        x,
        unit="nm" if molecule else "reduced",
        dt=dt,
        temperature=system.temperature,
        temperature_kT=system.kT if system.temperature is None else None,
        trajectory=trajectory,
        topology=_topology(system) if molecule else None,
        box=_box(system),
        source=str(provenance["sampler"]),
        **rest,
    )
    order = frames.order
    if ordered and order is None:
        order = places(frames.trajectory)
    note = {**frames.provenance, **provenance, "system": repr(system)}
    if system.draws is not None:
        note["potential_draws"] = system.draws
    return replace(frames, order=order, provenance=note)


def masses(system: System) -> Tensor:
    """Mass of each coordinate, (dim,), double precision: the system's own, or in dalton for molecules, 1 otherwise.

    Atoms, or beads, of no engine have the mass of their element, or 1 where they have none.

    Raises
    ------
    ConfigError
        An atom has no mass, as virtual sites have none.
    """
    if system.masses is not None:
        return torch.tensor(system.masses, dtype=torch.float64)
    openmm_system: Any = getattr(system, "openmm_system", None)
    if openmm_system is None:
        elements = [] if system.topology is None else [atom.element for atom in _topology(system).atoms]
        mass = torch.tensor([element.mass or 1.0 for element in elements], dtype=torch.float64)
        return mass.repeat_interleave(3) if elements else torch.ones(system.dim, dtype=torch.float64)
    from openmm.unit import dalton  # pyright: ignore[reportAttributeAccessIssue]

    atoms = range(openmm_system.getNumParticles())
    mass = torch.tensor([openmm_system.getParticleMass(i).value_in_unit(dalton) for i in atoms], dtype=torch.float64)
    if not bool((mass > 0).all()):
        raise ConfigError(
            f"atom {int(torch.argmin(mass))} has no mass; virtual sites and frozen atoms cannot move here"
        )
    return mass.repeat_interleave(3)


def _topology(system: System) -> "mdtraj.Topology":
    import mdtraj

    return mdtraj.Topology.from_openmm(system.topology)


def _box(system: System) -> np.ndarray | None:
    openmm_system: Any = getattr(system, "openmm_system", None)
    if openmm_system is None or not openmm_system.usesPeriodicBoundaryConditions():
        return None
    from openmm.unit import nanometer  # pyright: ignore[reportAttributeAccessIssue]

    return np.array([v.value_in_unit(nanometer) for v in openmm_system.getDefaultPeriodicBoxVectors()], np.float32)
