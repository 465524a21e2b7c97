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
from bayescg.systems.core import System

__all__ = ["Boltzmann", "GeometricPath", "system_config", "system_from_config"]


class Boltzmann(TorchDistribution):
    r"""The unnormalised density :math:`e^{-\beta U(x) / kT}` of a system, over its coordinates.

    The volume element of coordinates that are not Cartesian is a factor that no temperature changes. Nothing can be
    drawn from it: a guide proposes x, and its site in the model weighs what was proposed.

    Parameters
    ----------
    system : System
    beta : Tensor or float
        Inverse temperature in units of the system's own: 1 is its temperature, less is hotter.
    batch_shape : sequence of int

    Examples
    --------
    >>> from bayescg.systems import DoubleWell
    >>> Boltzmann(DoubleWell(), 0.5).log_prob(torch.tensor([[2.0, 0.0]]))
    tensor([3.])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(self, system: System, beta: Tensor | float = 1.0, batch_shape: Any = ()):
        self.system, self.beta = system, beta
        super().__init__(torch.Size(batch_shape), torch.Size((system.dim,)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Boltzmann:
        """The same density for every row of a batch."""
        return type(self)(self.system, self.beta, batch_shape)

    @property
    def support(self) -> Any:
        """All of space."""
        return constraints.real_vector

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density up to a constant, ``(...)`` for coordinates ``(..., dim)``."""
        return self.beta * (-self.system.potential_energy(value) / self.system.kT) + self.untempered(value)

    def untempered(self, value: Tensor) -> Tensor:
        """Log density at infinite temperature, ``(...)``: what `beta` does not multiply; costs no energy."""
        return self.system.log_volume(value)

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


class GeometricPath(Boltzmann):
    r"""The path :math:`p_0(x)^{1 - \beta} (e^{-U(x) / kT} J(x))^\beta` from a broad density to a system's own.

    That density is the system's `reference`; a flat one, and the path `Boltzmann`, where it has none. J is the volume
    element, as well tempered.

    Parameters
    ----------
    system : System
    beta : Tensor or float
    batch_shape : sequence of int

    Examples
    --------
    >>> from bayescg.systems import DoubleWell
    >>> GeometricPath(DoubleWell(), 0.5).log_prob(torch.tensor([[2.0, 0.0]]))
    tensor([3.])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density up to a constant, ``(...)`` for coordinates ``(..., dim)``."""
        untempered = self.untempered(value)
        return self.beta * (self.system.log_prob(value) - untempered) + untempered

    def untempered(self, value: Tensor) -> Tensor:
        """Log density where the path begins, ``(...)``."""
        reference = self.system.reference
        return super().untempered(value) if reference is None else reference.log_prob(value)


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
