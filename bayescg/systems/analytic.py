"""Potentials whose exact answers are known: what they add to a System, so that :mod:`bayescg.truth` can answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayescg.errors import ConfigError
from bayescg.systems.core import System

__all__ = ["AnalyticSystem", "Part"]

Box = tuple[tuple[float, float], ...]


class AnalyticSystem(System):
    """A potential in reduced units that says where its probability lies and into which parts it separates.

    Parameters
    ----------
    energy : callable
        Differentiable torch function from (n, dim) to (n,).
    temperature_kT : float
        Thermal energy in the unit of the energy.
    box : sequence of (lo, hi), optional
        Holds all but some 1e-10 of the probability, and the ways between the wells; one pair for each coordinate.
    periodic : sequence of bool, optional
        Coordinates that return at `hi` to `lo`; default: none.
    parts : sequence of Part, optional
        Independent parts, in the order of their coordinates: consecutive columns, unless `split` and `join` are
        overridden. Default: the system itself, in its box. Give `box` or `parts`.

    Raises
    ------
    ConfigError
        The box is empty or has not one pair for each of the coordinates.

    Examples
    --------
    >>> spring = AnalyticSystem(lambda x: 2.0 * x[:, 0] ** 2, temperature_kT=1.0, box=[(-4.0, 4.0)])
    >>> spring.box, len(spring.parts)
    (((-4.0, 4.0),), 1)
    """

    def __init__(
        self,
        energy: Callable[[Tensor], Tensor],
        *,
        temperature_kT: float,
        box: Sequence[tuple[float, float]] = (),
        periodic: Sequence[bool] | None = None,
        parts: "Sequence[Part]" = (),
    ):
        if bool(box) == bool(parts):
            raise ConfigError("give either box or parts, and only one")
        dim = len(box) or sum(part.system.dim for part in parts)
        super().__init__(energy, dim, temperature_kT=temperature_kT)
        self.box: Box = tuple((float(lo), float(hi)) for lo, hi in box)
        self.periodic = (False,) * len(self.box) if periodic is None else tuple(bool(p) for p in periodic)
        self.parts = tuple(parts) or (Part(self),)
        if any(not lo < hi for lo, hi in self.box):
            raise ConfigError(f"box={self.box!r}: each lower bound must lie below its upper bound")
        if len(self.periodic) != len(self.box):
            raise ConfigError(f"periodic={self.periodic!r} needs one entry for each of the {len(self.box)} coordinates")

    @property
    def bounds(self) -> Box | None:
        """Sides of a box in the system's coordinates that holds those of its parts; None where nobody says."""
        if type(self).join is not AnalyticSystem.join:
            return None
        return tuple(side for part in self.parts for side in part.system.box)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Coordinates of each part, (n, part.system.dim), from those of the system, (n, dim).

        Parameters
        ----------
        x : torch.Tensor, shape (n, dim)

        Returns
        -------
        tuple of torch.Tensor
        """
        return torch.split(x, [part.system.dim for part in self.parts], dim=-1)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Coordinates of the system, (n, dim), from those of each part: the inverse of `split`.

        Parameters
        ----------
        parts : sequence of torch.Tensor

        Returns
        -------
        torch.Tensor, shape (n, dim)
        """
        return torch.cat(tuple(parts), dim=-1)


@dataclass(frozen=True)
class Part:
    """Coordinates of a system that are independent of all others at equilibrium.

    Attributes
    ----------
    system : AnalyticSystem
        Its Boltzmann density is exactly that of these coordinates, the Jacobian of a curvilinear map included.
    name : str
        Of the coordinates.
    moves_alone : bool
        Whether overdamped dynamics of the whole, with the same constant diffusion for all coordinates, moves these
        coordinates as overdamped dynamics of `system` would, whatever the others do.
    """

    system: AnalyticSystem
    name: str = "x"
    moves_alone: bool = True
