"""The Boltzmann distribution of a system, as Pyro reads it."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from bayescg import systems
from bayescg.errors import ConfigError, ModelError
from bayescg.features import UnboundedCoordinates
from bayescg.systems.core import System

__all__ = ["Boltzmann", "system_config", "system_from_config"]


class Boltzmann(TorchDistribution):
    r"""The unnormalised density :math:`e^{-\beta U(x) / kT}` of a system's flat coordinates, or of others.

    Nothing can be drawn from it: a guide proposes x, and its site in the model weighs what was proposed.

    Parameters
    ----------
    system : System
    beta : Tensor or float
        Inverse temperature in units of the system's own: 1 is its temperature, less is hotter.
    batch_shape : sequence of int
    coordinates : UnboundedCoordinates, optional
        Coordinates of a molecule that the values are of. Their volume element, which no temperature changes, is a
        factor of its own, for the model to state.

    Examples
    --------
    >>> from bayescg.systems import DoubleWell
    >>> Boltzmann(DoubleWell(), 0.5).log_prob(torch.tensor([[2.0, 0.0]]))
    tensor([3.])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(
        self,
        system: System,
        beta: Tensor | float = 1.0,
        batch_shape: Any = (),
        coordinates: UnboundedCoordinates | None = None,
    ):
        self.system, self.beta, self.coordinates = system, beta, coordinates
        size = system.dim if coordinates is None else coordinates.size
        super().__init__(torch.Size(batch_shape), torch.Size((size,)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Boltzmann:
        """The same density for every row of a batch."""
        return Boltzmann(self.system, self.beta, batch_shape, self.coordinates)

    @property
    def support(self) -> Any:
        """All of space."""
        return constraints.real_vector

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density up to a constant, ``(...)`` for coordinates ``(..., dim)``."""
        x = value if self.coordinates is None else self.coordinates.positions(value).flatten(-2)
        return self.beta * self.system.log_prob(x)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Refused.

        Raises
        ------
        ModelError
        """
        raise ModelError(
            "nothing can be drawn from a Boltzmann distribution as such: sample the site in the guide, or use "
            "bayescg.sampling"
        )


def system_config(system: System) -> dict[str, Any] | None:
    """JSON that rebuilds a system of :mod:`bayescg.systems`, or None for any other.

    Examples
    --------
    >>> system_config(systems.ThreeWellRing(dim=50))
    {'name': 'ThreeWellRing', 'dim': 50, 'temperature_kT': 1.0}
    """
    name = type(system).__name__
    if getattr(systems, name, None) is not type(system):
        return None
    config: dict[str, Any] = {"name": name}
    for key in inspect.signature(type(system)).parameters:
        value = system.kT if key == "temperature_kT" else getattr(system, key, None)
        if not isinstance(value, int | float | str | list | tuple):
            return None
        config[key] = list(value) if isinstance(value, tuple) else value
    return config


def system_from_config(config: dict[str, Any] | None) -> System:
    """The system that `system_config` described.

    Raises
    ------
    ConfigError
        It described none.
    """
    if config is None:
        raise ConfigError(
            "the system is not one that a name and numbers describe (it is your own function, or a molecule): make "
            "the model with it again and give it, Fit.load(directory, model=YourModel(system, ...))"
        )
    return getattr(systems, config["name"])(**{k: v for k, v in config.items() if k != "name"})
