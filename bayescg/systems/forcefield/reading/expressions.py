"""Reading what OpenMM's forces are made of: numbers with units, tables, and expressions of known shapes."""

import re
from typing import Any

import numpy as np

__all__ = ["discrete_2d", "matches", "numbers", "parse", "polynomial"]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


def numbers(rows: list, columns: int) -> np.ndarray:
    """Columns of parameters with their units, which are OpenMM's own, taken off: shape (columns, rows)."""
    values = [[getattr(value, "_value", value) for value in row] for row in rows]
    return np.array(values, float).reshape(len(rows), columns).T


def discrete_2d(function: Any) -> np.ndarray:
    """Values of a Discrete2DFunction, its first argument first."""
    nx, ny, values = function.getFunctionParameters()
    return np.reshape(values, (ny, nx)).T


def parse(expression: str) -> tuple[str, dict[str, str], dict[str, float]]:
    """The formula, its named sub-formulas and its named numbers, all without spaces.

    Examples
    --------
    >>> parse("a*x + b; a = 2; b = y^2")
    ('a*x+b', {'b': 'y^2'}, {'a': 2.0})
    """
    formula, *parts = [part for part in re.sub(r"\s", "", expression).split(";") if part]
    names: dict[str, str] = {}
    numbers: dict[str, float] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if re.fullmatch(_NUMBER, value):
            numbers[name] = float(value)
        else:
            names[name] = value
    return formula, names, numbers


def matches(template: str, formula: str) -> "dict[str, float] | None":
    """Numbers that stand in `formula` where `template` has ``{name}``; None if the two differ otherwise.

    Examples
    --------
    >>> matches("{scale}*r^2", "4.5*r^2"), matches("{scale}*r^2", "4.5*r^3")
    ({'scale': 4.5}, None)
    """
    pattern = "".join(
        f"(?P<{piece[1:-1]}>{_NUMBER})" if piece.startswith("{") else re.escape(piece)
        for piece in re.split(r"(\{\w+\})", template)
    )
    match = re.fullmatch(pattern, formula)
    return None if match is None else {name: float(value) for name, value in match.groupdict().items()}


def polynomial(formula: str, variable: str) -> dict[int, Any]:
    """Coefficient of every power of `variable`: a number, or the name of a parameter with its sign.

    Raises
    ------
    ValueError
        The formula is not a sum of such terms.

    Examples
    --------
    >>> polynomial("psi-0.8*psi^2+gamma*psi^3", "psi")
    {1: (1.0, ''), 2: (-0.8, ''), 3: (1.0, 'gamma')}
    """
    term = re.compile(rf"([-+]?)(?:({_NUMBER})\*|([a-zA-Z_]\w*)\*)?{variable}(?:\^(\d+))?(?=[-+]|$)")
    coefficients: dict[int, Any] = {}
    position = 0
    while position < len(formula):
        match = term.match(formula, position)
        if match is None:
            raise ValueError(f"{formula!r} is not a polynomial in {variable}")
        sign, number, name, power = match.groups()
        coefficients[int(power or 1)] = ((-1.0 if sign == "-" else 1.0) * float(number or 1.0), name or "")
        position = match.end()
    return coefficients
