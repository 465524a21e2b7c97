"""Starting structures that differ in their backbone torsions."""

from typing import TYPE_CHECKING

import numpy as np

from bayescg.errors import DataError
from bayescg.systems.peptides import ramachandran, set_ramachandran

if TYPE_CHECKING:
    from bayescg.systems.molecules import MolecularSystem

__all__ = ["ramachandran_starts"]

# (phi, psi) in degrees: extended, right-handed helix, polyproline II, C7 equatorial. All have phi < 0: a
# start in a basin that is rarely entered and rarely left would be over-represented in every affordable
# simulation.
_BASINS = ((-150.0, 155.0), (-75.0, -30.0), (-75.0, 150.0), (-85.0, 75.0))


def ramachandran_starts(system: "MolecularSystem", chains: int) -> np.ndarray:
    """One structure per chain, taking turns through four regions of the Ramachandran plane.

    Parameters
    ----------
    system : MolecularSystem
        Made with positions. Without backbone torsions, every chain starts from these.
    chains : int
        Number of structures.

    Returns
    -------
    numpy.ndarray, shape (chains, atoms, 3)
        Positions in nm, not minimised.

    Raises
    ------
    DataError
        The system has no positions.

    Examples
    --------
    >>> from bayescg.systems import alanine_dipeptide
    >>> ramachandran_starts(alanine_dipeptide(), chains=3).shape
    (3, 22, 3)
    """
    if not np.isfinite(system.positions).all():
        raise DataError("the system has no positions to start from; give `positions` to from_openmm, or `starts`")
    topology = system.topology
    if topology is None or not ramachandran(topology):
        return np.repeat(system.positions[None], chains, axis=0)
    angles = [_BASINS[chain % len(_BASINS)] for chain in range(chains)]
    return np.stack([set_ramachandran(topology, system.positions, phi, psi) for phi, psi in angles])
