"""Lennard-Jones and Coulomb between pairs, as a torch function of positions (3, atoms, batch)."""

import math

import torch
from torch import Tensor, nn

from bayescg.systems.forcefield import tables
from bayescg.systems.forcefield.energies.gather import Gather

__all__ = ["SQUARED_FLOOR", "Pairs"]

SQUARED_FLOOR = 4e-6
"""nm^2: atoms nearer than 0.002 nm count as that far apart, so that all is finite in single precision."""


class Pairs(nn.Module):
    """Energies of one table of pairs."""

    qq: Tensor
    a: Tensor
    b: Tensor

    def __init__(self, table: tables.Pairs, atoms: int):
        super().__init__()
        self.i, self.j = (Gather(torch.tensor(column), atoms) for column in table.atoms.T)
        for name in ("qq", "a", "b"):
            self.register_buffer(name, torch.tensor(getattr(table, name))[:, None])
        self.reach = table.reach

    def forward(self, x: Tensor) -> Tensor:
        """Energies (batch,) of positions (3, atoms, batch)."""
        r2 = (self.i(x) - self.j(x)).square().sum(0).clamp_min(SQUARED_FLOOR)
        inverse = r2.rsqrt()
        inverse_6 = inverse.square() ** 3
        wells = (self.a * inverse_6 - self.b) * inverse_6
        if math.isinf(self.reach.cutoff):
            return (wells + self.qq * inverse).sum(0)
        if math.isfinite(self.reach.switch):
            t = ((r2 * inverse - self.reach.switch) / (self.reach.cutoff - self.reach.switch)).clamp_min(0.0)
            wells = wells * (1.0 + t**3 * (-10.0 + t * (15.0 - 6.0 * t)))
        energy = wells + self.qq * (inverse + self.reach.k_rf * r2 - self.reach.c_rf)
        return torch.where(r2 < self.reach.cutoff**2, energy, 0.0).sum(0)
