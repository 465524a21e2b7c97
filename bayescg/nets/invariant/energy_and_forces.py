"""An energy and minus its slopes, by one evaluation."""

from collections.abc import Callable

from torch import Tensor
from torch.func import grad

__all__ = ["energy_and_forces", "forces_of"]


def energy_and_forces(energy: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Energies ``(n,)`` and forces ``(n, 3 atoms)`` at positions ``(n, atoms, 3)``.

    Examples
    --------
    >>> import torch
    >>> energy_and_forces(lambda x: 0.5 * x.square().sum((1, 2)), torch.ones(1, 2, 3))
    (tensor([3.]), tensor([[-1., -1., -1., -1., -1., -1.]]))
    """

    def total(y: Tensor) -> tuple[Tensor, Tensor]:
        energies = energy(y)
        return energies.sum(), energies

    slope, energies = grad(total, has_aux=True)(x)
    return energies, -slope.flatten(1)


def forces_of(energy: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Minus the slopes of energies ``(n,)`` at ``(n, dim)``, of that shape.

    Examples
    --------
    >>> import torch
    >>> forces_of(lambda x: 0.5 * x.square().sum(1), torch.ones(1, 2))
    tensor([[-1., -1.]])
    """
    return -grad(lambda v: energy(v).sum())(x)
