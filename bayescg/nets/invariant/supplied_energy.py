"""Somebody else's energy in place of a network of this package."""

import copy

from torch import Tensor, nn

from bayescg.errors import ConfigError
from bayescg.nets.random import Prior, gaussian

__all__ = ["SuppliedEnergy"]


class SuppliedEnergy(nn.Module):
    """A copy of any module from positions ``(n, atoms, 3)`` to energies ``(n,)``, which begins with the weights it has.

    Parameters
    ----------
    energy : Module

    Raises
    ------
    ConfigError
        It is none, or holds an activation whose forces cannot be learned from, such as ReLU.

    Examples
    --------
    >>> import torch
    >>> class Spring(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.k = nn.Parameter(torch.tensor(2.0))
    ...     def forward(self, x):
    ...         return 0.5 * self.k * (x[:, 0] - x[:, 1]).square().sum(-1)
    >>> SuppliedEnergy(Spring())(torch.ones(5, 2, 3), torch.zeros(2)).shape
    torch.Size([5])
    """

    def __init__(self, energy: nn.Module):
        super().__init__()
        if not isinstance(energy, nn.Module):
            raise ConfigError(f"energy= is a {type(energy).__name__}: give a torch module from positions to energies")
        for name, module in energy.named_modules():
            if isinstance(module, nn.ReLU | nn.LeakyReLU | nn.ReLU6 | nn.Hardtanh):
                raise ConfigError(
                    f"module {name!r} of the energy is a {type(module).__name__}: forces of such an energy are "
                    "piecewise constant, and what they are to learn from has no gradient; use nn.Tanh, nn.SiLU or "
                    "nn.Softplus"
                )
        self.energy = copy.deepcopy(energy)
        self._initial = {k: v.detach().clone() for k, v in self.energy.state_dict().items()}

    def prior(self, scale: float) -> Prior:
        """Of its weights, each of that standard deviation: how it is made of them is not known."""
        return gaussian(scale)

    def begin(self) -> None:
        """Go back to the weights that it began with."""
        self.energy.load_state_dict(self._initial)

    def forward(self, x: Tensor, kinds: Tensor) -> Tensor:
        """Energies ``(n,)`` of positions ``(n, atoms, 3)``; the kinds it knows by itself.

        Raises
        ------
        ConfigError
            It gives something else.
        """
        energy = self.energy(x)
        if energy.shape != x.shape[:-2]:
            raise ConfigError(
                f"energy= gives shape {tuple(energy.shape)} of positions {tuple(x.shape)}: one energy for each "
                f"configuration is wanted, {tuple(x.shape[:-2])}"
            )
        return energy
