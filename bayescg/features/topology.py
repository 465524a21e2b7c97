"""Atoms by name and by selection, and reference conformations."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bayescg.arguments import array_of
from bayescg.errors import ConfigError, TopologyError
from bayescg.units import BOND_RANGE, plain

__all__ = ["as_reference", "atom_label", "select_atoms"]


def as_reference(reference: Any, atoms: int | None = None, topology: Any = None) -> NDArray[np.float64]:
    """Check the positions of a reference conformation: an array in nm, or an OpenMM quantity.

    Raises
    ------
    TopologyError
        The shape is not ``(atoms, 3)``, a number is not finite, or bonds of the topology are too long for bonds.
    """
    reference = plain(reference, "nm")
    if isinstance(reference, torch.Tensor):
        reference = reference.detach().cpu()
    target = array_of(reference, "reference=", TopologyError)
    if target.ndim != 2 or target.shape[1] != 3 or atoms not in (None, len(target)):
        raise TopologyError(f"the reference has shape {target.shape} instead of ({atoms or 'atoms'}, 3)")
    bad = ~np.isfinite(target).all(axis=1)
    if bad.any():
        raise TopologyError(f"the reference is not finite at atom {int(bad.argmax()) + 1}; give another one")
    for a, b in () if topology is None else topology.bonds:  # those between residues may stand for missing ones
        length = float(np.linalg.norm(target[a.index] - target[b.index]))
        if a.residue is b.residue and length > BOND_RANGE[1]:
            raise TopologyError(
                f"the reference is broken across a periodic box, or in another unit than nm: {a} and {b} are bonded "
                f"and {length:.2f} nm apart; give a whole one, such as frames.positions[0] of load(..., whole=True)"
            )
    return target


def select_atoms(topology: Any, select: str) -> NDArray[np.int64]:
    """Indices of the atoms that an expression of mdtraj's selection language names.

    Raises
    ------
    ConfigError
        The expression does not parse.
    TopologyError
        It names no atom.
    """
    try:
        atoms = topology.select(select)
    except Exception as error:  # mdtraj's parser raises several kinds
        raise ConfigError(f"atom selection {select!r} is not understood by mdtraj: {error}") from error
    if len(atoms) == 0:
        raise TopologyError(f"atom selection {select!r} names none of the {topology.n_atoms} atoms")
    return np.asarray(atoms, dtype=np.int64)


def atom_label(topology: Any, index: int) -> str:
    """Name and serial number of an atom; serial numbers start at 1, as in PDB files and PLUMED."""
    return f"{topology.atom(index).name} {index + 1}"
