"""Molecular systems with the force fields of OpenMM."""

import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_numbers
from bayescg.errors import ConfigError, TopologyError, UnitError
from bayescg.systems.core import System
from bayescg.systems.engine import Engine
from bayescg.systems.forcefield import ForceField
from bayescg.systems.peptides import peptide
from bayescg.units import BOND_RANGE, plain

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology

    from bayescg.systems.forcefield.native import Native

__all__ = [
    "MolecularSystem",
    "alanine_dipeptide",
    "capped_peptide",
    "check_nanometres",
    "constrain_hydrogens",
    "from_openmm",
]

# Force-field files of the OpenMM package, and the file that adds each implicit solvent to them.
# amber96_obc.xml is OBC2 as a GBSAOBCForce, with its own radii; the files under implicit/ are CustomGBForces,
# about twenty times slower on a CPU.
_OWN_OBC2 = {"amber96": "amber96_obc.xml", "amber99sbildn": "amber99_obc.xml"}
_FILES = {
    "amber96": "amber96.xml",
    "amber99sbildn": "amber99sbildn.xml",
    "amber14": "amber14/protein.ff14SB.xml",
}
_SOLVENTS = {"obc1": "implicit/obc1.xml", "obc2": "implicit/obc2.xml", "gbn2": "implicit/gbn2.xml"}


class MolecularSystem(System):
    """A molecule in an OpenMM force field. Made by `from_openmm`.

    A frame that is not finite has the energy NaN.

    Parameters
    ----------
    openmm_system : openmm.System
        Without constraints.
    topology : openmm.app.Topology
        Its atoms.
    start : numpy.ndarray, shape (atoms, 3)
        A structure to start from, in nm; not numbers where there is none.
    temperature : float
        Kelvin.
    engine : {"torch", "openmm"}
        What computes the energy; see `from_openmm`.

    Attributes
    ----------
    openmm_system, start, engine
        As given.

    Examples
    --------
    >>> system = alanine_dipeptide()
    >>> system.dim, round(system.kT, 3)
    (66, 2.744)
    """

    def __init__(
        self,
        openmm_system: "openmm.System",
        topology: "Topology",
        start: np.ndarray,
        temperature: float,
        engine: str = "torch",
    ):
        if engine not in _ENGINES:
            raise ConfigError(f"unknown engine {engine!r}; use one of {', '.join(_ENGINES)}")
        self.openmm_system = openmm_system
        self.start = start
        self.engine = engine
        self._field = field = _ENGINES[engine](openmm_system)
        super().__init__(
            lambda x: field.energy(x.unflatten(-1, (-1, 3))),
            3 * openmm_system.getNumParticles(),
            temperature=temperature,
            topology=topology,
        )

    def __deepcopy__(self, memo: dict) -> "MolecularSystem":
        return self  # it never changes, and an OpenMM context cannot be copied

    def forces(self, x: Tensor) -> Tensor:
        """Forces in kJ/mol/nm, detached: see `System.forces`."""
        return self._field.forces(self._flat(x).detach().unflatten(-1, (-1, 3))).reshape(x.shape)

    def kernels(self, x: Tensor) -> "Native | None":
        """Of its force field, on a processor: see `System.kernels`. A subclass may have changed the energy: none."""
        plain_one = type(self) is MolecularSystem and isinstance(self._field, ForceField)
        return self._field.native(x) if plain_one else None

    def guarded_above_start(self, kT: float) -> System:
        """Guarded (`System.guarded`) at so many kT above the energy of ``start``.

        Raises
        ------
        ConfigError
            That energy is not a finite number.
        """
        start = float(self.energy(torch.as_tensor(self.start, dtype=torch.float64).flatten()))
        return self.guarded(start + kT * self.kT)


_ENGINES = {"torch": ForceField, "openmm": Engine}


def from_openmm(
    openmm_system: "openmm.System",
    topology: "Topology",
    temperature: Any,
    positions: Any = None,
    engine: str = "torch",
) -> MolecularSystem:
    """A system from an OpenMM System.

    Parameters
    ----------
    openmm_system : openmm.System
        Any forces; no constraints (``createSystem(constraints=None, rigidWater=False)``). It is copied.
    topology : openmm.app.Topology
        Its atoms and bonds.
    temperature : float or openmm.unit.Quantity
        Kelvin.
    positions : openmm.unit.Quantity or numpy.ndarray, shape (atoms, 3), optional
        A starting structure for molecular dynamics; an array is in nm. Without it, simulations need `starts`.
    engine : {"torch", "openmm"}, default "torch"
        What computes energies and forces: a `ForceField`, all frames at once and in the precision and on the device of
        the coordinates, or OpenMM's Reference platform, which knows every force but takes one frame after another.
        Molecular dynamics runs in OpenMM in either case.

    Returns
    -------
    MolecularSystem

    Raises
    ------
    TopologyError
        The topology is not OpenMM's, or it or the positions have another number of atoms than the system.
    UnitError
        Bonds of the topology are too long in `positions`: an array in angstrom, most likely.
    ConfigError
        The system has constraints, the temperature is not positive, or the batched energy cannot represent a force,
        which the message names.

    Notes
    -----
    The energy is that of the flexible molecule. A constrained System lacks the terms of its constrained
    bonds, so that exp(-U / kT) over all Cartesian coordinates would not be a density. Molecular dynamics adds
    the constraints on bonds to hydrogen itself (`constrain_hydrogens`).

    Examples
    --------
    >>> import openmm.app as app
    >>> topology, positions = peptide("ACE-GLY-NME")
    >>> vacuum = app.ForceField("amber14-all.xml").createSystem(topology)
    >>> from_openmm(vacuum, topology, temperature=300.0, positions=positions)
    MolecularSystem(dim=57, temperature=300.0 K)
    """
    if not hasattr(openmm_system, "getNumParticles"):
        what = f"{type(openmm_system).__module__}.{type(openmm_system).__name__}"
        raise ConfigError(f"openmm_system is a {what}; give the openmm.System that ForceField.createSystem returns")
    atoms = openmm_system.getNumParticles()
    if not hasattr(topology, "getNumAtoms"):
        raise TopologyError(
            f"the topology is a {type(topology).__module__}.{type(topology).__name__}; give the openmm.app.Topology "
            "that the OpenMM System was made from (mdtraj: topology.to_openmm())"
        )
    if topology.getNumAtoms() != atoms:
        raise TopologyError(
            f"the topology has {topology.getNumAtoms()} atoms and the OpenMM System {atoms}; make both from one file"
        )
    if openmm_system.getNumConstraints():
        raise ConfigError(
            f"the OpenMM System has {openmm_system.getNumConstraints()} constraints, whose bonds have no "
            "energy; create it with constraints=None and rigidWater=False (molecular dynamics constrains "
            "bonds to hydrogen by itself)"
        )
    start = np.full((atoms, 3), np.nan)
    if positions is not None:
        try:
            start = np.array(plain(positions, "nm"), float)
        except (TypeError, ValueError) as error:
            raise TopologyError(f"positions must be finite numbers of shape ({atoms}, 3): {error}") from error
        if start.shape != (atoms, 3) or not np.isfinite(start).all():
            raise TopologyError(f"positions must be finite numbers of shape ({atoms}, 3), got shape {start.shape}")
        check_nanometres(start, topology, "positions")
    return MolecularSystem(copy.deepcopy(openmm_system), topology, start, temperature, engine)


def check_nanometres(x: np.ndarray, topology: "Topology", what: str) -> None:
    """Refuse positions (..., atoms, 3) whose bonds are too long to be in nm.

    Raises
    ------
    UnitError
        The median bond is longer than any there is.
    """
    bonds = np.array([(a.index, b.index) for a, b in topology.bonds()], int).reshape(-1, 2)
    lengths = np.linalg.norm(x[..., bonds[:, 0], :] - x[..., bonds[:, 1], :], axis=-1)
    if lengths.size and (typical := float(np.median(lengths))) > BOND_RANGE[1]:
        raise UnitError(
            f"{what}: bonded atoms are {typical:.3g} nm apart (median): the numbers are not in nm; angstrom are 0.1 nm"
        )


def alanine_dipeptide(
    force_field: str = "amber96",
    solvent: str | None = "obc2",
    temperature: float = 330.0,
    engine: str = "torch",
    hydrogen_mass: float | None = None,
) -> MolecularSystem:
    """Alanine dipeptide, ACE-ALA-NME: 22 atoms, 66 coordinates, flexible bonds, no cutoff.

    Parameters
    ----------
    force_field, solvent, temperature, engine, hydrogen_mass
        As for `capped_peptide`.

    Returns
    -------
    MolecularSystem

    Raises
    ------
    ConfigError
        As `capped_peptide`.

    Source
    ------
    Schöberl, Zabaras, Koutsourelakis, J. Chem. Phys. 150, 024109 (2019): AMBER ff96, 330 K.

    Examples
    --------
    >>> import torch
    >>> system = alanine_dipeptide(temperature=300.0)
    >>> energy = system.energy(torch.tensor(system.start).flatten())
    >>> bool(energy < -150.0)  # kJ/mol, minimised
    True
    """
    return capped_peptide("ACE-ALA-NME", force_field, solvent, temperature, engine, hydrogen_mass)


def capped_peptide(
    sequence: str,
    force_field: str = "amber96",
    solvent: str | None = "obc2",
    temperature: float = 300.0,
    engine: str = "torch",
    hydrogen_mass: float | None = None,
) -> MolecularSystem:
    """A capped peptide of any sequence: flexible bonds, no cutoff.

    Parameters
    ----------
    sequence : str
        As for `peptide`.
    force_field : {"amber96", "amber99sbildn", "amber14"}
        Parameters that come with OpenMM.
    solvent : {"obc2", "obc1", "gbn2", None}
        Generalised-Born implicit solvent, or vacuum. With the older force fields OBC2 is OpenMM's
        GBSAOBCForce, whose molecular dynamics is about twenty times faster on a CPU than with the CustomGBForce of
        the other choices.
    temperature : float, default 300.0
        Kelvin.
    engine : {"torch", "openmm"}, default "torch"
        What computes energies and forces; see `from_openmm`.
    hydrogen_mass : float or openmm.unit.Quantity, optional
        Mass of every hydrogen in dalton, 1 to 4, taken from the atom that carries it. Heavier hydrogens let
        time steps be longer; equilibrium averages do not depend on masses, kinetics do a little.

    Returns
    -------
    MolecularSystem

    Raises
    ------
    ConfigError
        The sequence, the force field, the solvent or the engine is unknown, or a number is out of range.

    Examples
    --------
    >>> capped_peptide("ACE-ALA-GLY-NME", solvent=None)
    MolecularSystem(dim=87, temperature=300.0 K)
    """
    if force_field not in _FILES:
        raise ConfigError(f"unknown force field {force_field!r}; use one of {', '.join(_FILES)}")
    files = [_FILES[force_field]]
    if solvent == "obc2" and force_field in _OWN_OBC2:
        files.append(_OWN_OBC2[force_field])
    elif solvent in _SOLVENTS:
        files.append(_SOLVENTS[solvent])
    elif solvent is not None:
        raise ConfigError(f"unknown solvent {solvent!r}; use one of {', '.join(_SOLVENTS)} or None")
    hydrogen_mass = plain(hydrogen_mass, "dalton")
    if hydrogen_mass is not None:  # with 4.7 the carbon of a methyl group has less than 1 left
        check_numbers(hydrogen_mass=(hydrogen_mass, "[1, 4]"))
    topology, positions = peptide(sequence)
    openmm_system = _force_field(*files).createSystem(
        topology, constraints=None, removeCMMotion=False, hydrogenMass=hydrogen_mass
    )
    return from_openmm(openmm_system, topology, temperature, positions, engine)


@lru_cache(maxsize=2)
def _force_field(*files: str) -> Any:
    """Read from OpenMM's files, which takes longer than all else that makes a molecule."""
    from openmm.app import ForceField

    return ForceField(*files)


def constrain_hydrogens(openmm_system: "openmm.System", topology: "Topology") -> "openmm.System":
    """A copy with every bond to a hydrogen held at its equilibrium length, so that a time step of 2 fs is
    stable.

    Parameters
    ----------
    openmm_system : openmm.System
        Flexible; its lengths come from its HarmonicBondForce.
    topology : openmm.app.Topology
        Tells which atoms are hydrogens.

    Returns
    -------
    openmm.System
        The bond terms stay and are zero under the constraint.

    Examples
    --------
    >>> system = alanine_dipeptide()
    >>> constrain_hydrogens(system.openmm_system, system.topology).getNumConstraints()
    12
    """
    from openmm import HarmonicBondForce

    result = copy.deepcopy(openmm_system)
    hydrogen = [atom.element is not None and atom.element.symbol == "H" for atom in topology.atoms()]
    for force in result.getForces():
        if isinstance(force, HarmonicBondForce):
            for bond in range(force.getNumBonds()):
                a, b, length, _ = force.getBondParameters(bond)
                if hydrogen[a] or hydrogen[b]:
                    result.addConstraint(a, b, length)
    return result
