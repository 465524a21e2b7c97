"""What models that query a system share: the coordinates of its configurations and their configuration."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from bayescg import nets
from bayescg.arguments import check_positive
from bayescg.distributions import system_config, system_from_config
from bayescg.errors import ConfigError, DataError
from bayescg.features import UnboundedCoordinates, unbounded_coordinates
from bayescg.modelling.model import Model
from bayescg.systems import CurvilinearSystem, MolecularSystem, System
from bayescg.systems.core import check_system

__all__ = ["SystemModel", "box_of", "placing"]


class SystemModel(Model):
    """Base of models whose program is a system's Boltzmann factor, over its Cartesian or a molecule's own coordinates.

    A subclass takes `system`, `coordinates` and `guard` among its arguments, and hands them on to `begin`.

    Attributes
    ----------
    system : System
        Over the coordinates that the programs generate, of a molecule internal ones; a molecule is guarded.
    coordinates : UnboundedCoordinates or None
        Those, of a molecule.
    guard : float
        In kT.
    """

    needs_frames = False
    system: System
    coordinates: UnboundedCoordinates | None

    def begin(self, system: System, coordinates: UnboundedCoordinates | None, guard: float) -> None:
        """Take the system; of a molecule in coordinates of its own, guarded `guard` kT above its structure.

        Raises
        ------
        ConfigError
            This is no system, these are no such coordinates, or `guard` is not positive.
        """
        check_system(system)
        check_positive(guard=guard)
        if coordinates is None and system.topology is not None:
            coordinates = unbounded_coordinates(system)
        if coordinates is not None and not isinstance(coordinates, UnboundedCoordinates):
            raise ConfigError(
                f"coordinates are a {type(coordinates).__name__}; give bcg.features.unbounded_coordinates(system)"
            )
        system = system.guarded_above_start(guard) if isinstance(system, MolecularSystem) else system
        self.system = system if coordinates is None else CurvilinearSystem(system, coordinates)
        self.coordinates, self.guard = coordinates, float(guard)

    def inputs(self, x: Tensor) -> Tensor:
        """Flat coordinates ``(n, dim)``, or internal ones of positions ``(n, atoms, 3)``.

        Raises
        ------
        DataError
            They are not as many as the system's.
        """
        flat, size = x.flatten(1), self.system.cartesian.dim
        if flat.shape[-1] != size:
            raise DataError(f"the system has {size} coordinates, these frames have {flat.shape[-1]}")
        return self.system.from_positions(flat)

    def positions(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` of a molecule's generated coordinates; those of other systems as they are."""
        return self.system.positions(x)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model, where the system is one of :mod:`bayescg.systems`."""
        return {**self.arguments("system"), "system": system_config(self.system)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration."""
        return super().from_config({**config, "system": system_from_config(config["system"])})


def placing(system: System, reach: float | None = None) -> tuple[Tensor, Tensor]:
    """Centre and scale, each ``(dim,)``, of where a generator begins: five scales lead to the sides of the box.

    Of a molecule those of its reference density. Without a box they are 0 and 1.

    Parameters
    ----------
    system : System
    reach : float, optional
        Half the side of a cube around the origin, in place of the box.

    Examples
    --------
    >>> from bayescg.systems import Prinz
    >>> centre, scale = placing(Prinz())
    >>> centre, 5.0 * scale == Prinz().box[0][1]
    (tensor([0.]), tensor([True]))
    """
    if system.reference is not None:
        return system.reference.mean, system.reference.stddev
    box = box_of(system)
    if reach is not None or box is None:
        return torch.zeros(system.dim), torch.full((system.dim,), 1.0 if reach is None else reach / nets.BOUND)
    return box.mean(1), 0.5 * (box[:, 1] - box[:, 0]) / nets.BOUND


def box_of(system: System) -> Tensor | None:
    """Sides ``(dim, 2)`` of the box that holds the configurations of a potential of :mod:`bayescg.systems`.

    None of other systems.

    Examples
    --------
    >>> from bayescg.systems import DoubleWell
    >>> box_of(DoubleWell()).shape
    torch.Size([2, 2])
    """
    bounds = getattr(system, "bounds", None)
    return None if bounds is None else torch.tensor(bounds)
