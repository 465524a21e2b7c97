"""Starting structures that differ in their backbone torsions."""

from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.arguments import check_counts
from bayescg.errors import ConfigError, DataError, TopologyError
from bayescg.systems.peptides import ramachandran, set_ramachandran
from bayescg.units import plain

if TYPE_CHECKING:
    from bayescg.systems.molecules import MolecularSystem

__all__ = ["ramachandran_starts", "structures"]

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
    ConfigError
        The system is no molecule, or `chains` no count.
    DataError
        The system has no positions.

    Examples
    --------
    >>> from bayescg.systems import alanine_dipeptide
    >>> ramachandran_starts(alanine_dipeptide(), chains=3).shape
    (3, 22, 3)
    """
    if not hasattr(system, "start"):
        raise ConfigError(f"starting structures are those of a molecule, such as alanine_dipeptide(), not {system!r}")
    check_counts(chains=(chains, 1))
    if not np.isfinite(system.start).all():
        raise DataError("the system has no positions to start from; give `positions` to from_openmm, or `starts`")
    topology = system.topology
    if topology is None or not ramachandran(topology):
        return np.repeat(system.start[None], chains, axis=0)
    angles = [_BASINS[chain % len(_BASINS)] for chain in range(chains)]
    return np.stack([set_ramachandran(topology, system.start, phi, psi) for phi, psi in angles])


def structures(system: "MolecularSystem", starts: Any, chains: int) -> np.ndarray:
    """Structures to start from (chains, atoms, 3) in nm: those given, or `ramachandran_starts`.

    Raises
    ------
    TopologyError
        `starts` has another shape, or does not hold numbers.
    UnitError
        `starts` are not in nm.
    """
    from bayescg.systems.molecules import check_nanometres

    positions = ramachandran_starts(system, chains) if starts is None else plain(starts, "nm")
    requirement = f"starts must be finite and of shape (chains, {system.dim // 3}, 3)"
    try:
        x = np.asarray(positions, float)
    except (TypeError, ValueError) as error:
        raise TopologyError(f"{requirement}: {error}") from error
    if x.ndim != 3 or x.shape[1:] != (system.dim // 3, 3) or not len(x) or not np.isfinite(x).all():
        raise TopologyError(f"{requirement}, not {x.shape}")
    assert system.topology is not None
    check_nanometres(x, system.topology, "starts")
    return x
