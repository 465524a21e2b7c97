"""Reading what acts between pairs of atoms: Lennard-Jones and Coulomb, with exceptions and a plain cutoff."""

from typing import Any

import numpy as np

from bayescg.systems.forcefield.reading.expressions import discrete_2d, matches, numbers, parse
from bayescg.systems.forcefield.tables import Pairs, Range

__all__ = ["COULOMB", "PairBook", "cutoff_of", "lennard_jones", "lennard_jones_14", "nonbonded"]

COULOMB = 138.93545764438198
"""kJ/mol nm/e^2, to the digits that OpenMM has."""


class PairBook:
    """Interactions between pairs, added up for every pair and range.

    Parameters
    ----------
    atoms : int
        Number of atoms.
    """

    def __init__(self, atoms: int):
        self.atoms = atoms
        self._sums: dict[Range, np.ndarray] = {}

    def add(self, reach: Range, i: Any, j: Any, qq: Any = 0.0, a: Any = 0.0, b: Any = 0.0) -> None:
        """Add the energies qq / r, a / r^12 and -b / r^6 of pairs (i, j) given once each."""
        sums = self._sums.setdefault(reach, np.zeros((3, self.atoms, self.atoms)))
        i, j = np.minimum(i, j), np.maximum(i, j)
        for sum_, values in zip(sums, (qq, a, b), strict=True):
            np.add.at(sum_, (i, j), values)

    def tables(self) -> tuple[Pairs, ...]:
        """One table for each range, without the pairs that do not interact."""
        tables = []
        for reach, (qq, a, b) in self._sums.items():
            at = np.nonzero((qq != 0) | (a != 0) | (b != 0))
            if len(at[0]):
                tables.append(Pairs(np.stack(at, 1), qq[at], a[at], b[at], reach))
        return tuple(tables)


def cutoff_of(force: Any) -> float:
    """The plain cutoff of a force in nm, infinite without one."""
    method = force.getNonbondedMethod()
    if method == force.NoCutoff:
        return np.inf
    if method == force.CutoffNonPeriodic:
        return force.getCutoffDistance()._value
    raise ValueError("only NoCutoff and CutoffNonPeriodic are known")


def nonbonded(book: PairBook, force: Any) -> None:
    """Read a NonbondedForce: charges, Lennard-Jones by Lorentz-Berthelot rules, exceptions.

    With a cutoff, Coulomb pairs get OpenMM's reaction field and exceptions neither cutoff nor reaction field.
    """
    if force.getNumParticleParameterOffsets() or force.getNumExceptionParameterOffsets():
        raise ValueError("its parameters depend on global parameters (offsets)")
    if not force.getIncludeDirectSpace():
        raise ValueError("its direct space is switched off")
    atoms = force.getNumParticles()
    charge, sigma, epsilon = numbers([force.getParticleParameters(i) for i in range(atoms)], 3)
    rows = [force.getExceptionParameters(i) for i in range(force.getNumExceptions())]
    cutoff = cutoff_of(force)
    reach = Range()
    if np.isfinite(cutoff):
        dielectric = force.getReactionFieldDielectric()
        reach = Range(
            cutoff,
            force.getSwitchingDistance()._value if force.getUseSwitchingFunction() else np.inf,
            (dielectric - 1.0) / (2.0 * dielectric + 1.0) / cutoff**3,
            3.0 * dielectric / (2.0 * dielectric + 1.0) / cutoff,
        )
    i, j = _all_but(rows, atoms)
    wells = _wells(0.5 * (sigma[i] + sigma[j]), np.sqrt(epsilon[i] * epsilon[j]))
    book.add(reach, i, j, COULOMB * charge[i] * charge[j], *wells)
    if rows:
        i, j, product, sigma, epsilon = numbers(rows, 5)
        book.add(Range(), i.astype(int), j.astype(int), COULOMB * product, *_wells(sigma, epsilon))


def lennard_jones(book: PairBook, force: Any) -> None:
    """Read the CustomNonbondedForce that OpenMM's CHARMM force fields call LennardJones."""
    if parse(force.getEnergyFunction()) != ("acoef(type1,type2)/r^12-bcoef(type1,type2)/r^6", {}, {}):
        raise ValueError(f"its energy {force.getEnergyFunction()!r} is not CHARMM's Lennard-Jones")
    if force.getNumInteractionGroups() or force.getNumGlobalParameters():
        raise ValueError("it has interaction groups or global parameters")
    atoms = force.getNumParticles()
    kind = np.array([force.getParticleParameters(i)[0] for i in range(atoms)]).astype(int)
    tables = {
        force.getTabulatedFunctionName(i): discrete_2d(force.getTabulatedFunction(i))
        for i in range(force.getNumTabulatedFunctions())
    }
    cutoff = cutoff_of(force)
    switched = np.isfinite(cutoff) and force.getUseSwitchingFunction()
    i, j = _all_but([force.getExclusionParticles(n) for n in range(force.getNumExclusions())], atoms)
    pair = kind[i], kind[j]
    reach = Range(cutoff, force.getSwitchingDistance()._value if switched else np.inf)
    book.add(reach, i, j, 0.0, tables["acoef"][pair], tables["bcoef"][pair])


def lennard_jones_14(book: PairBook, force: Any) -> None:
    """Read the CustomBondForce that OpenMM's CHARMM force fields call LennardJones14."""
    formula, names, constants = parse(force.getEnergyFunction())
    prefactor = matches("{scale}*epsilon*((sigma/r)^12-(sigma/r)^6)", formula)
    parameters = [force.getPerBondParameterName(i) for i in range(force.getNumPerBondParameters())]
    if prefactor is None or names or constants or set(parameters) != {"sigma", "epsilon"}:
        raise ValueError(f"its energy {force.getEnergyFunction()!r} is not CHARMM's 1-4 Lennard-Jones")
    rows = [force.getBondParameters(i) for i in range(force.getNumBonds())]
    if rows:
        i, j = np.array([row[:2] for row in rows]).T
        values = dict(zip(parameters, np.array([row[2] for row in rows]).T, strict=True))
        book.add(Range(), i, j, 0.0, *_wells(values["sigma"], values["epsilon"] * prefactor["scale"] / 4.0))


def _all_but(excluded: list, atoms: int) -> tuple[np.ndarray, ...]:
    interact = np.triu(np.ones((atoms, atoms), bool), 1)
    for i, j, *_ in excluded:
        interact[i, j] = interact[j, i] = False
    return np.nonzero(interact)


def _wells(sigma: np.ndarray, epsilon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 4.0 * epsilon * sigma**12, 4.0 * epsilon * sigma**6
