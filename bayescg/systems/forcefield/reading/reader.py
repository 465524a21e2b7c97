"""From an OpenMM System to the tables of its force field, or an error that names the force in the way."""

from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.errors import ConfigError
from bayescg.systems.forcefield.reading.dihedrals import (
    TorsionBook,
    cmap,
    harmonic_improper,
    periodic,
    ryckaert_bellemans,
)
from bayescg.systems.forcefield.reading.expressions import numbers
from bayescg.systems.forcefield.reading.pair_terms import PairBook, lennard_jones, lennard_jones_14, nonbonded
from bayescg.systems.forcefield.reading.solvent import custom_gb, gbsa_obc
from bayescg.systems.forcefield.tables import Angles, Bonds, Born, Tables

if TYPE_CHECKING:
    import openmm

__all__ = ["read_tables"]

# They move atoms, or hold the temperature, and have no energy.
_WITHOUT_ENERGY = ("AndersenThermostat", "CMMotionRemover")


def read_tables(openmm_system: "openmm.System") -> Tables:
    """Tables of the force field of an OpenMM System.

    Parameters
    ----------
    openmm_system : openmm.System
        Not periodic, without virtual sites. Its forces are HarmonicBondForce, HarmonicAngleForce,
        PeriodicTorsionForce, RBTorsionForce, CMAPTorsionForce, NonbondedForce, GBSAOBCForce, the CustomGBForce of
        OpenMM's implicit solvents (HCT, OBC1, OBC2, GBn, GBn2), and the custom forces of its CHARMM force fields
        (LennardJones, LennardJones14, harmonic impropers). Constraints have no energy and are not read.

    Returns
    -------
    Tables

    Raises
    ------
    ConfigError
        A force or a particle that these tables cannot represent; the message names it. Nothing is left out.

    Examples
    --------
    >>> import openmm
    >>> system = openmm.System()
    >>> _ = system.addParticle(14.0), system.addParticle(14.0)
    >>> bond = openmm.HarmonicBondForce()
    >>> _ = bond.addBond(0, 1, 0.11, 1e6), system.addForce(bond)
    >>> read_tables(system).bonds.length
    array([0.11])
    """
    atoms = openmm_system.getNumParticles()
    for i in range(atoms):
        if openmm_system.isVirtualSite(i):
            raise ConfigError(f"particle {i} is a virtual site, which the batched energy cannot represent; {_ADVICE}")
    book = _Book(atoms)
    for index, force in enumerate(openmm_system.getForces()):
        where = f"force {index}, {force.getName()} ({type(force).__name__})"
        try:
            book.add(force)
        except ValueError as reason:
            raise ConfigError(f"{where}, cannot be represented: {reason}; {_ADVICE}") from None
    return book.tables()


_ADVICE = "use engine='openmm', which is slow but knows every force, or another force field"


class _Book:
    """What has been read so far."""

    def __init__(self, atoms: int):
        self.atoms = atoms
        self.bonds: list[tuple] = []
        self.angles: list[tuple] = []
        self.torsions = TorsionBook()
        self.pairs = PairBook(atoms)
        self.born: Born | None = None

    def add(self, force: Any) -> None:
        kind = type(force).__name__
        if kind in _WITHOUT_ENERGY:
            return
        if kind not in _READERS:
            raise ValueError("its energy is not among the known forms")
        if force.usesPeriodicBoundaryConditions():
            raise ValueError("it uses periodic boundary conditions")
        _READERS[kind](self, force)

    def dissolve(self, born: Born) -> None:
        if self.born is not None:
            raise ValueError("the System has another generalised-Born force already")
        self.born = born

    def tables(self) -> Tables:
        torsions, impropers, maps = self.torsions.tables()
        return Tables(
            self.atoms,
            bonds=Bonds(*_columns(self.bonds, 2)) if self.bonds else None,
            angles=Angles(*_columns(self.angles, 3)) if self.angles else None,
            torsions=torsions,
            impropers=impropers,
            cmap=maps,
            pairs=self.pairs.tables(),
            born=self.born,
        )


def _columns(rows: list[tuple], atoms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = numbers(rows, atoms + 2)
    return columns[:atoms].T.astype(int), columns[atoms], columns[atoms + 1]


def _bonds(book: _Book, force: Any) -> None:
    rows = (force.getBondParameters(i) for i in range(force.getNumBonds()))
    book.bonds += [row for row in rows if row[-1]._value]


def _angles(book: _Book, force: Any) -> None:
    rows = (force.getAngleParameters(i) for i in range(force.getNumAngles()))
    book.angles += [row for row in rows if row[-1]._value]


_READERS = {
    "HarmonicBondForce": _bonds,
    "HarmonicAngleForce": _angles,
    "PeriodicTorsionForce": lambda book, force: periodic(book.torsions, force),
    "RBTorsionForce": lambda book, force: ryckaert_bellemans(book.torsions, force),
    "CMAPTorsionForce": lambda book, force: cmap(book.torsions, force),
    "CustomTorsionForce": lambda book, force: harmonic_improper(book.torsions, force),
    "NonbondedForce": lambda book, force: nonbonded(book.pairs, force),
    "CustomNonbondedForce": lambda book, force: lennard_jones(book.pairs, force),
    "CustomBondForce": lambda book, force: lennard_jones_14(book.pairs, force),
    "GBSAOBCForce": lambda book, force: book.dissolve(gbsa_obc(force)),
    "CustomGBForce": lambda book, force: book.dissolve(custom_gb(force)),
}
