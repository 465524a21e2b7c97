"""Units: nm, ps, kJ/mol and K inside; everything else is converted at the door."""

from bayescg.errors import UnitError

__all__ = ["GAS_CONSTANT", "LENGTH", "TIME", "kT", "length_factor", "time_factor"]

GAS_CONSTANT = 0.00831446261815324
"""kJ/mol/K: the molar gas constant, exact in the SI since 2019."""

LENGTH = {"nm": 1.0, "nanometer": 1.0, "angstrom": 0.1, "A": 0.1, "Å": 0.1, "pm": 1e-3, "bohr": 0.0529177210903}
"""Nanometres per unit of length."""

TIME = {"ps": 1.0, "fs": 1e-3, "ns": 1e3, "us": 1e6}
"""Picoseconds per unit of time."""


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
    return _factor(unit, LENGTH | {"reduced": 1.0}, "length")


def time_factor(unit: str) -> float:
    """Picoseconds in one `unit`.

    Examples
    --------
    >>> time_factor("ns")
    1000.0
    """
    return _factor(unit, TIME, "time")


def kT(temperature: float) -> float:
    """Thermal energy in kJ/mol at a temperature in K.

    Examples
    --------
    >>> round(kT(300.0), 4)
    2.4943
    """
    return GAS_CONSTANT * temperature


def _factor(unit: str, table: dict[str, float], kind: str) -> float:
    if unit not in table:
        raise UnitError(f"unknown unit of {kind} {unit!r}; use one of {', '.join(table)}")
    return table[unit]
