"""Contacts between atoms: smooth steps in their distance, and the fraction of native ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from bayescg.arguments import check_positive
from bayescg.errors import ConfigError, TopologyError
from bayescg.features.distances import Box, Distances, labelled_pairs
from bayescg.features.interface import register
from bayescg.features.periodic import constant_box
from bayescg.features.topology import as_reference
from bayescg.topologies import read_topology

__all__ = ["Contacts", "contacts", "native_contacts"]


@register
class Contacts(Distances):
    r"""Smooth contacts :math:`1 / (1 + \exp(\beta (r_{ij} - r^0_{ij})))` of pairs of atoms, or their mean.

    Parameters
    ----------
    atoms : int
        Number of atoms of the system.
    pairs : sequence of (int, int)
        Atom indices, from 0.
    labels : sequence of str
        A name for each pair.
    lengths : sequence of float
        Distance :math:`r^0_{ij}` in nm at which the contact of each pair is 1/2.
    steepness : float
        :math:`\beta` in 1/nm.
    mean : bool
        Whether the mean of all contacts is the only feature.
    box : array or False, optional
        As that of `Distances`.
    """

    lengths: Tensor

    def __init__(
        self,
        atoms: int,
        pairs: Sequence[Sequence[int]],
        labels: Sequence[str],
        lengths: Sequence[float],
        steepness: float,
        mean: bool = False,
        box: Box = None,
    ):
        super().__init__(atoms, pairs, labels, box)
        if len(lengths) != len(pairs):
            raise ConfigError(f"{len(pairs)} pairs of atoms have {len(lengths)} lengths")
        check_positive(steepness=steepness, **{f"lengths[{k}]": length for k, length in enumerate(lengths)})
        self.register_buffer("lengths", torch.tensor(lengths, dtype=torch.float64), persistent=False)
        self.steepness, self.mean = float(steepness), bool(mean)
        self.size = 1 if mean else len(pairs)

    @property
    def names(self) -> list[str]:
        """``contact(CA 9, N 17)``, with serial numbers from 1; ``contacts`` of their mean."""
        return ["contacts"] if self.mean else [f"contact({label})" for label in self.labels]

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        more = {"lengths": self.lengths.tolist(), "steepness": self.steepness, "mean": self.mean}
        return super().config() | {"type": "Contacts"} | more

    def forward(self, x: Tensor, box: Tensor | None = None) -> Tensor:
        """Positions ``(..., atoms, 3)`` to contacts ``(..., size)`` in (0, 1); `box` as that of `Distances`."""
        r = super().forward(x, box)
        contact = torch.sigmoid(self.steepness * (self.lengths.to(r) - r))
        return contact.mean(-1, keepdim=True) if self.mean else contact


def contacts(
    top: Any,
    pairs: Sequence[Sequence[int]] | None = None,
    select: str | tuple[str, str] | None = None,
    cutoff: float = 0.45,
    steepness: float = 50.0,
    box: Box = None,
) -> Contacts:
    r"""Contacts of pairs of atoms, :math:`1 / (1 + \exp(\beta (r_{ij} - r_0)))`: 1 well inside, 0 far outside.

    Parameters
    ----------
    top, pairs, select, box
        As those of `distances`.
    cutoff : float
        Distance :math:`r_0` in nm at which a contact is 1/2.
    steepness : float
        :math:`\beta` in 1/nm: a contact falls from 0.9 to 0.1 over :math:`4.4 / \beta`.

    Raises
    ------
    ConfigError, TopologyError
        As `distances`; a cutoff or a steepness that is not positive.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> topology, positions = peptide("ACE-ALA-NME")
    >>> contacts(topology, pairs=[(4, 8), (1, 18)])(torch.tensor(positions._value)).round(decimals=3)
    tensor([1., 0.])
    """
    check_positive(cutoff=cutoff)
    topology, rows, labels = labelled_pairs(top, pairs, select)
    lengths = [float(cutoff)] * len(rows)
    return Contacts(topology.n_atoms, rows, labels, lengths, steepness, box=constant_box(top) if box is None else box)


def native_contacts(
    top: Any,
    reference: ArrayLike | None = None,
    select: str | tuple[str, str] | None = None,
    cutoff: float = 0.45,
    steepness: float = 50.0,
    tolerance: float = 1.8,
    box: Box = None,
) -> Contacts:
    r"""The fraction Q of native contacts that a conformation keeps.

    .. math:: Q = \frac{1}{N} \sum_{(i,j)} \frac{1}{1 + \exp(\beta (r_{ij} - \lambda r^0_{ij}))}

    over the N pairs of atoms that are less than `cutoff` apart in the reference, at a distance :math:`r^0_{ij}`, and in
    residues at least four apart along the chain, or in different chains.

    Parameters
    ----------
    top : topology
        path, topology of mdtraj or OpenMM, mdtraj trajectory or Frames.
    reference : array, optional
        The native conformation, ``(atoms, 3)`` in nm, or an OpenMM quantity. Default: the coordinates, or the first
        frame, of `top`.
    select : str or (str, str), optional
        Which atoms, as in `distances`. Default: all but hydrogen.
    cutoff : float
        nm, in the reference.
    steepness : float
        :math:`\beta` in 1/nm.
    tolerance : float
        :math:`\lambda`: 1.8 for all atoms, 1.2 for a bead per residue.
    box : array or False, optional
        As that of `distances`.

    Raises
    ------
    ConfigError
        No reference is given and `top` has no coordinates; otherwise as `distances`.
    TopologyError
        The reference has no such contact.

    References
    ----------
    Best, Hummer, Eaton, "Native contacts determine protein folding mechanisms in atomistic simulations", PNAS 110,
    17874 (2013), eq. (1).

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> topology, positions = peptide("ACE-ALA-ALA-ALA-ALA-ALA-NME")
    >>> native = native_contacts(topology, positions, cutoff=1.3)
    >>> native.names, bool(native(torch.tensor(positions._value)) > 0.99)
    (['contacts'], True)
    """
    check_positive(cutoff=cutoff)
    topology, rows, labels = labelled_pairs(top, None, select)
    conformation = read_topology(top)[1] if reference is None else reference
    if conformation is None:
        raise ConfigError("this topology has no coordinates: give reference=, of shape (atoms, 3) in nm")
    box = constant_box(top) if box is None else box
    native = torch.from_numpy(np.array(as_reference(conformation, topology.n_atoms, topology)))
    lengths = Distances(topology.n_atoms, rows, labels, box)(native).tolist()
    residues = [atom.residue for atom in topology.atoms]
    near = [
        k
        for k, (i, j) in enumerate(rows)
        if lengths[k] < cutoff
        and (abs(residues[i].index - residues[j].index) > 3 or residues[i].chain is not residues[j].chain)
    ]
    if not near:
        raise TopologyError(
            f"no two of the selected atoms, in residues at least four apart, are within {cutoff:g} nm in the reference"
        )
    halves = [tolerance * lengths[k] for k in near]
    rows, labels = [rows[k] for k in near], [labels[k] for k in near]
    return Contacts(topology.n_atoms, rows, labels, halves, steepness, mean=True, box=box)
