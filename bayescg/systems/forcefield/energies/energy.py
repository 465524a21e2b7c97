"""The whole force field as one torch function, differentiable as often as one likes."""

from torch import Tensor, nn

from bayescg.systems.forcefield.energies import bonded, born, nonbonded
from bayescg.systems.forcefield.tables import Tables

__all__ = ["Energy"]


class Energy(nn.Module):
    """Potential energy in kJ/mol, the sum over all tables.

    Parameters
    ----------
    tables : Tables
        Parameters; buffers of this module hold them in double precision, and move and convert with it.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from bayescg.systems.forcefield import tables
    >>> spring = tables.Bonds(np.array([[0, 1]]), np.array([0.1]), np.array([1000.0]))
    >>> energy = Energy(tables.Tables(2, bonds=spring))
    >>> energy(torch.tensor([[[0.0, 0, 0], [0.3, 0, 0]]], dtype=torch.float64))
    tensor([20.0000], dtype=torch.float64)
    """

    def __init__(self, tables: Tables):
        super().__init__()
        self.atoms = tables.atoms
        terms: list[nn.Module] = [nonbonded.Pairs(pairs, tables.atoms) for pairs in tables.pairs]
        if tables.bonds is not None:
            terms.append(bonded.Bonds(tables.bonds, tables.atoms))
        if tables.angles is not None:
            terms.append(bonded.Angles(tables.angles, tables.atoms))
        if tables.torsions is not None:
            terms.append(bonded.Torsions(tables.torsions, tables.impropers, tables.cmap, tables.atoms))
        if tables.born is not None:
            terms.append(born.Born(tables.born, tables.atoms))
        self.terms = nn.ModuleList(terms)

    def forward(self, x: Tensor) -> Tensor:
        """Energies (batch,) of positions (batch, atoms, 3) in nm."""
        batch_last = x.permute(2, 1, 0).contiguous()
        energy = 0.0 * x.sum((1, 2))  # a coordinate at infinity makes it NaN too
        for term in self.terms:
            energy = energy + term(batch_last)
        return energy
