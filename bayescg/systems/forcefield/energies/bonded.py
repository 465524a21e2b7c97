"""Bonds, angles and torsions as torch functions of positions (3, atoms, batch)."""

import math

import torch
from torch import Tensor, nn

from bayescg.systems.forcefield import tables
from bayescg.systems.forcefield.energies.gather import Gather

__all__ = ["Angles", "Bonds", "Torsions"]

# Two atoms in one place have no direction and three in a line no plane: below this squared length (nm^2) or area
# (nm^4) derivatives are zero, not infinite.
_POINT = 1e-20
_LINE = 1e-20


class Bonds(nn.Module):
    """Energies of harmonic bonds."""

    length: Tensor
    k: Tensor

    def __init__(self, table: tables.Bonds, atoms: int):
        super().__init__()
        self.a, self.b = (Gather(torch.tensor(column), atoms) for column in table.atoms.T)
        self.register_buffer("length", torch.tensor(table.length)[:, None])
        self.register_buffer("k", torch.tensor(table.k)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Energies (batch,) of positions (3, atoms, batch)."""
        r = (self.a(x) - self.b(x)).square().sum(0).clamp_min(_POINT).sqrt()
        return (0.5 * self.k * (r - self.length).square()).sum(0)


class Angles(nn.Module):
    """Energies of harmonic angles."""

    angle: Tensor
    k: Tensor

    def __init__(self, table: tables.Angles, atoms: int):
        super().__init__()
        self.a, self.b, self.c = (Gather(torch.tensor(column), atoms) for column in table.atoms.T)
        self.register_buffer("angle", torch.tensor(table.angle)[:, None])
        self.register_buffer("k", torch.tensor(table.k)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Energies (batch,) of positions (3, atoms, batch)."""
        vertex = self.b(x)
        u, v = self.a(x) - vertex, self.c(x) - vertex
        area = _cross(u, v).square().sum(0).clamp_min(_LINE).sqrt()
        theta = torch.atan2(area, (u * v).sum(0))
        return (0.5 * self.k * (theta - self.angle).square()).sum(0)


class Torsions(nn.Module):
    """Energies of Fourier torsions, of harmonic impropers and of maps over two torsions."""

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        table: tables.Torsions,
        impropers: "tables.Impropers | None",
        cmap: "tables.Cmap | None",
        atoms: int,
    ):
        super().__init__()
        self.a, self.b, self.c, self.d = (Gather(torch.tensor(column), atoms) for column in table.atoms.T)
        self.register_buffer("cos", torch.tensor(table.cos)[..., None])
        self.register_buffer("sin", torch.tensor(table.sin)[..., None])
        self.impropers = None if impropers is None else _Impropers(impropers, len(table.atoms))
        self.cmap = None if cmap is None else _Cmap(cmap, len(table.atoms))

    def forward(self, x: Tensor) -> Tensor:
        """Energies (batch,) of positions (3, atoms, batch)."""
        a, b, c, d = self.a(x), self.b(x), self.c(x), self.d(x)
        u, axis, w = a - b, c - b, c - d
        m, n = _cross(u, axis), _cross(axis, w)
        scale = m.square().sum(0).clamp_min(_LINE).rsqrt() * n.square().sum(0).clamp_min(_LINE).rsqrt()
        cos = (m * n).sum(0) * scale
        sin = (u * n).sum(0) * axis.square().sum(0).clamp_min(_POINT).sqrt() * scale
        energy = self.cos[:, 0].expand_as(cos)
        cos_n, sin_n = cos, sin
        for order in range(1, self.cos.shape[1]):
            energy = energy + self.cos[:, order] * cos_n + self.sin[:, order] * sin_n
            cos_n, sin_n = cos_n * cos - sin_n * sin, sin_n * cos + cos_n * sin
        total = energy.sum(0)
        if self.impropers is not None or self.cmap is not None:
            phi = torch.atan2(sin, cos)
            total = total + (0.0 if self.impropers is None else self.impropers(phi))
            total = total + (0.0 if self.cmap is None else self.cmap(phi))
        return total


class _Impropers(nn.Module):
    angle: Tensor
    k: Tensor

    def __init__(self, table: tables.Impropers, torsions: int):
        super().__init__()
        self.pick = Gather(torch.tensor(table.torsion), torsions)
        self.register_buffer("angle", torch.tensor(table.angle)[:, None])
        self.register_buffer("k", torch.tensor(table.k)[:, None])

    def forward(self, phi: Tensor) -> Tensor:
        away = (self.pick(phi) - self.angle).abs()
        return (self.k * torch.minimum(away, 2.0 * math.pi - away).square()).sum(0)


class _Cmap(nn.Module):
    patches: Tensor
    first: Tensor
    size: Tensor

    def __init__(self, table: tables.Cmap, torsions: int):
        super().__init__()
        self.phi, self.psi = (Gather(torch.tensor(rows), torsions) for rows in (table.phi, table.psi))
        self.register_buffer("patches", torch.tensor(table.patches))
        self.register_buffer("first", torch.tensor(table.first)[:, None])
        self.register_buffer("size", torch.tensor(table.size)[:, None])

    def forward(self, phi: Tensor) -> Tensor:
        i, u = self._cell(self.phi(phi))
        j, v = self._cell(self.psi(phi))
        coefficients = self.patches[self.first + self.size * i + j].unbind(-1)
        energy = torch.zeros_like(u)
        for m in (3, 2, 1, 0):
            c0, c1, c2, c3 = coefficients[4 * m : 4 * m + 4]
            energy = energy * u + ((c3 * v + c2) * v + c1) * v + c0
        return energy.sum(0)

    def _cell(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        position = torch.where(angle < 0, angle + 2.0 * math.pi, angle) * (self.size.to(angle) / (2.0 * math.pi))
        # an angle that is not a number belongs to no cell; any one will do, since the rest of the cell is NaN
        cell = torch.minimum(position.detach().nan_to_num(0.0).floor().long(), self.size - 1)
        return cell, position - cell


def _cross(u: Tensor, v: Tensor) -> Tensor:
    return torch.stack([u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]])
