"""A molecule over coordinates other than Cartesian ones."""

import copy
from typing import Protocol

from torch import Tensor
from torch.distributions import Distribution

from bayescg.systems.core import System

__all__ = ["CurvilinearSystem"]


class Coordinates(Protocol):
    """A bijection of conformations, such as :class:`bayescg.features.UnboundedCoordinates`.

    Attributes
    ----------
    size : int
    soft : Tensor of int64
        Numbers of the torsions whose two ends are one place.
    """

    size: int
    soft: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Coordinates ``(..., size)`` of positions ``(..., atoms, 3)``."""
        ...

    def positions(self, u: Tensor) -> Tensor:
        """Positions of coordinates."""
        ...

    def log_abs_det_jacobian(self, u: Tensor) -> Tensor:
        """Logarithm of the volume of positions per volume of coordinates, ``(...)``."""
        ...

    def readable(self, u: Tensor) -> Tensor:
        """What a network should read of coordinates."""
        ...

    def reference(self) -> Distribution:
        """A broad density of coordinates."""
        ...


class CurvilinearSystem(System):
    r"""A molecule over internal coordinates u, the volume element in its density.

    .. math:: \log p(u) = -U(x(u)) / kT + \log |\det \partial x / \partial u|

    Its energy is :math:`-kT \log p(u)`, so that it can be sampled as any other system; the potential energy is that of
    `cartesian`. A number of u has no length: temperatures, too, are in the unit of the energy.

    Parameters
    ----------
    system : System
        Of Cartesian coordinates.
    coordinates : Coordinates

    Attributes
    ----------
    coordinates
        As given.

    Examples
    --------
    >>> import torch, bayescg as bcg
    >>> molecule = bcg.systems.alanine_dipeptide()
    >>> system = CurvilinearSystem(molecule, bcg.features.unbounded_coordinates(molecule))
    >>> u = system.from_positions(torch.as_tensor(molecule.start).flatten())
    >>> u.shape, system.positions(u).shape
    (torch.Size([60]), torch.Size([22, 3]))
    """

    def __init__(self, system: System, coordinates: Coordinates):
        super().__init__(self._minus_log_density, coordinates.size, temperature_kT=system.kT)
        self._cartesian, self.coordinates = system, coordinates

    def _minus_log_density(self, u: Tensor) -> Tensor:
        return self.potential_energy(u) - self.kT * self.log_volume(u)

    @property
    def cartesian(self) -> System:
        """The molecule over Cartesian coordinates."""
        return self._cartesian

    @property
    def unguarded(self) -> System:
        """The same, its energy as it is."""
        return CurvilinearSystem(self._cartesian.unguarded, self.coordinates)

    @property
    def reference(self) -> Distribution:
        """That of the coordinates."""
        return self.coordinates.reference()

    @property
    def circular(self) -> Tensor:
        """Numbers of the soft torsions."""
        return self.coordinates.soft

    def guarded(self, cut: float) -> System:
        """The same with the potential energy guarded."""
        return CurvilinearSystem(self._cartesian.guarded(cut), self.coordinates)

    def potential_energy(self, x: Tensor) -> Tensor:
        """That of `cartesian` at the positions, ``(...)``."""
        return self._cartesian.energy(self.positions(x).flatten(-2))

    def positions(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` in nm."""
        return self.coordinates.positions(x)

    def from_positions(self, x: Tensor) -> Tensor:
        """Coordinates ``(..., dim)`` of flat Cartesian ones."""
        return self.coordinates(x.unflatten(-1, (-1, 3)))

    def log_volume(self, x: Tensor) -> Tensor:
        """Logarithm of the volume of positions per volume of coordinates, ``(...)``."""
        return self.coordinates.log_abs_det_jacobian(x)

    def readable(self, x: Tensor) -> Tensor:
        """The coordinates with cosines and sines of those that are circular in their place."""
        return self.coordinates.readable(x)

    def __deepcopy__(self, memo: dict) -> "CurvilinearSystem":
        return CurvilinearSystem(copy.deepcopy(self._cartesian, memo), copy.deepcopy(self.coordinates, memo))
