"""Generalised-Born solvent as a torch function of positions (3, atoms, batch)."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from bayescg.systems.forcefield import tables
from bayescg.systems.forcefield.energies.gather import Gather
from bayescg.systems.forcefield.energies.nonbonded import SQUARED_FLOOR

__all__ = ["Born"]


class Born(nn.Module):
    """Energies of the solvent: polarisation and surface.

    Source
    ------
    Hawkins, Cramer, Truhlar, J. Phys. Chem. 100, 19824 (1996); Onufriev, Bashford, Case, Proteins 55, 383 (2004);
    Mongan et al., J. Chem. Theory Comput. 3, 156 (2007), for the neck.
    """

    charge: Tensor
    radius: Tensor
    offset_radius: Tensor
    alpha: Tensor
    beta: Tensor
    gamma: Tensor
    area: Tensor
    qq: Tensor
    rho: Tensor
    s: Tensor
    depth: Tensor
    position: Tensor
    reach: Tensor

    def __init__(self, table: tables.Born, atoms: int):
        super().__init__()
        self.table = table
        pairs = np.stack(np.triu_indices(atoms, 1))
        self.i, self.j = (Gather(torch.tensor(column), atoms) for column in pairs)
        # both directions of every pair: whose integral it is, and who makes it
        target, maker = np.concatenate([pairs, pairs[::-1]], 1)
        self.seen = Gather(torch.tensor(target), atoms)
        columns = {
            "charge": table.charge,
            "radius": table.radius,
            "offset_radius": table.offset_radius,
            "alpha": table.alpha,
            "beta": table.beta,
            "gamma": table.gamma,
            "area": table.surface * (table.radius + table.probe) ** 2,
            "qq": table.charge[pairs[0]] * table.charge[pairs[1]],
            "rho": table.offset_radius[target],
            "s": table.scaled_radius[maker],
        }
        if table.neck is not None:
            columns |= {
                "depth": table.neck.scale * table.neck.depth[target, maker],
                "position": table.neck.position[target, maker],
                "reach": table.neck.reach[target, maker],
            }
        for name, column in columns.items():
            self.register_buffer(name, torch.tensor(column)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Energies (batch,) of positions (3, atoms, batch)."""
        r2 = (self.i(x) - self.j(x)).square().sum(0).clamp_min(SQUARED_FLOOR)
        r = r2.sqrt()
        radius = self.radii(r)
        table = self.table
        product = self.i(radius) * self.j(radius)
        f = (r2 + product * torch.exp(-0.25 * r2 / product)).sqrt()
        pairs = self._factor(f) * self.qq * (1.0 / f - (0.0 if math.isinf(table.cutoff) else 1.0 / table.cutoff))
        if math.isfinite(table.cutoff):
            pairs = torch.where(r < table.cutoff, pairs, 0.0)
        single = 0.5 * self._factor(radius) * self.charge**2 / radius + self.area * (self.radius / radius) ** 6
        return pairs.sum(0) + single.sum(0)

    def radii(self, r: Tensor) -> Tensor:
        """Born radii (atoms, batch) in nm from the distances (pairs, batch)."""
        integral = self.seen.sum(self._descreening(torch.cat([r, r])))
        if not self.table.rescaled:
            return 1.0 / (1.0 / self.offset_radius - integral)
        psi = integral * self.offset_radius
        scaled = torch.tanh(psi * (self.alpha - psi * (self.beta - psi * self.gamma)))
        return 1.0 / (1.0 / self.offset_radius - scaled / self.radius)

    def _descreening(self, r: Tensor) -> Tensor:
        rho, s = self.rho, self.s
        near = r + s > rho
        upper = torch.where(near, r + s, 1.0)  # elsewhere it is not used, and its logarithm may not exist
        lower = torch.maximum(rho, (r - s).abs())
        integral = 0.5 * (1.0 / lower - 1.0 / upper) + 0.125 * (r - s**2 / r) * (upper**-2 - lower**-2)
        integral = integral + 0.25 * torch.log(lower / upper) / r
        if self.table.swallowed:
            integral = integral + torch.where(rho < s - r, 1.0 / rho - 1.0 / lower, 0.0)
        integral = torch.where(near, integral, 0.0)
        if self.table.neck is not None:
            d2 = (r - self.position).square()
            integral = integral + torch.where(r < self.reach, self.depth / (1.0 + 100.0 * d2 + 3e5 * d2**3), 0.0)
        if math.isfinite(self.table.cutoff):
            integral = torch.where(r < self.table.cutoff, integral, 0.0)
        return integral

    def _factor(self, distance: Tensor) -> "Tensor | float":
        table = self.table
        if table.kappa == 0.0:
            return -table.coulomb * (1.0 / table.solute_dielectric - 1.0 / table.solvent_dielectric)
        salt = torch.exp(-table.kappa * distance)
        return -table.coulomb * (1.0 / table.solute_dielectric - salt / table.solvent_dielectric)
