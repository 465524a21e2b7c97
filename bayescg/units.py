"""Units: nm, ps, kJ/mol and K inside; everything else is converted at the door."""

from typing import Any

from bayescg.errors import UnitError

__all__ = ["BOND_RANGE", "ENERGY", "GAS_CONSTANT", "LENGTH", "energy_factor", "kT", "length_factor", "plain"]

GAS_CONSTANT = 0.00831446261815324
"""kJ/mol/K: the molar gas constant, exact in the SI since 2019."""

LENGTH = {"nm": 1.0, "nanometer": 1.0, "angstrom": 0.1, "A": 0.1, "Å": 0.1, "pm": 1e-3, "bohr": 0.0529177210903}
"""Nanometres per unit of length."""

ENERGY = {"kJ/mol": 1.0, "kcal/mol": 4.184, "hartree": 2625.4996394799}
"""kJ/mol per unit of energy."""

BOND_RANGE = (0.05, 0.6)
"""nm: from H-H (0.074) to bonded coarse-grained beads (0.38 to 0.5)."""

_OPENMM = {
    "nm": ("nanometer", 1), "ps": ("picosecond", 1), "1/ps": ("picosecond", -1), "K": ("kelvin", 1),
    "dalton": ("dalton", 1), "kJ/mol": ("kilojoule_per_mole", 1),
}  # fmt: skip
"""Name in OpenMM, and power."""


def length_factor(unit: str) -> float:
    """Nanometres in one `unit`; ``"reduced"`` (toy systems) counts as 1.

    Parameters
    ----------
    unit : str
        A key of `LENGTH`, or ``"reduced"``.

    Raises
    ------
    UnitError
        The unit is not known.

    Examples
    --------
    >>> length_factor("angstrom")
    0.1
    """
    return _factor("length", unit, LENGTH | {"reduced": 1.0})


def energy_factor(unit: str) -> float:
    """kJ/mol in one `unit`, a key of `ENERGY`.

    Raises
    ------
    UnitError
        The unit is not known.

    Examples
    --------
    >>> energy_factor("kcal/mol")
    4.184
    """
    return _factor("energy", unit, ENERGY)


def _factor(quantity: str, unit: str, factors: dict[str, float]) -> float:
    if not isinstance(unit, str) or unit not in factors:
        raise UnitError(f"unknown unit of {quantity} {unit!r}; use one of {', '.join(factors)}")
    return factors[unit]


def kT(temperature: float) -> float:
    """Thermal energy in kJ/mol at a temperature in K.

    Examples
    --------
    >>> round(kT(300.0), 4)
    2.4943
    """
    return GAS_CONSTANT * temperature


def plain(value: Any, unit: str) -> Any:
    """The number, or array, in a unit of bayescg that an OpenMM quantity stands for; anything else as it is.

    Parameters
    ----------
    value : openmm.unit.Quantity, or anything
        Of a list or tuple that holds quantities, each is converted.
    unit : {"nm", "ps", "1/ps", "K", "dalton", "kJ/mol"}

    Raises
    ------
    UnitError
        A quantity of something else.

    Examples
    --------
    >>> import openmm.unit
    >>> plain(2.0 * openmm.unit.angstrom, "nm"), plain(300.0, "K")
    (0.2, 300.0)
    """
    if hasattr(value, "value_in_unit"):
        import openmm.unit

        name, power = _OPENMM[unit]
        wanted = getattr(openmm.unit, name) ** power
        if not value.unit.is_compatible(wanted):
            raise UnitError(f"a quantity in {value.unit.get_symbol()} was given where one in {unit} is needed: {value}")
        return value.value_in_unit(wanted)
    if isinstance(value, list | tuple) and any(hasattr(v, "value_in_unit") for v in value):
        return [plain(v, unit) for v in value]
    return value
