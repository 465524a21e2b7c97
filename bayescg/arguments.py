"""Checks of arguments that many functions share: whole numbers, numbers in an interval, widths of networks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral
from typing import TYPE_CHECKING, Any

from bayescg.errors import BayescgError, ConfigError

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "array_of",
    "check_choice",
    "check_counts",
    "check_flags",
    "check_numbers",
    "check_paths",
    "check_positive",
    "did_you_mean",
    "items_of",
    "names_of",
    "positive_pair",
    "row_of",
    "stated",
    "whole_rows",
    "widths",
]


_MOST = 2**63
"""What whole numbers of NumPy and torch stay below."""


def check_choice(**choices: tuple[Any, Iterable[str | None]]) -> None:
    """Refuse what is none of some words: ``check_choice(centre=(centre, ("mass", "geometry")))``.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> check_choice(centre=("middle", ("mass", "geometry")))
    Traceback (most recent call last):
    bayescg.errors.ConfigError: centre='middle' is not known; use one of mass, geometry
    """
    for name, (value, words) in choices.items():
        if not isinstance(value, str | None) or value not in words:
            raise ConfigError(f"{name}={value!r} is not known; use one of {', '.join(map(str, words))}")


def check_counts(**counts: tuple[Any, int]) -> None:
    """Refuse numbers that are not whole or below their least: ``check_counts(steps=(steps, 1))``.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> check_counts(layers=(2.5, 1))
    Traceback (most recent call last):
    bayescg.errors.ConfigError: layers=2.5 must be a whole number, at least 1
    """
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) < _MOST:
            most = "" if not isinstance(value, Integral) or value < _MOST else " and below 2^63"
            raise ConfigError(f"{name}={value!r} must be a whole number, at least {least}{most}")


def check_flags(**flags: Any) -> None:
    """Refuse what is neither True nor False: ``check_flags(whole=whole)``.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> check_flags(whole="yes")
    Traceback (most recent call last):
    bayescg.errors.ConfigError: whole='yes' must be True or False
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{name}={value!r} must be True or False")


def check_numbers(**numbers: tuple[Any, str]) -> None:
    """Refuse what is no number, or lies outside its interval: ``check_numbers(beta=(beta, "(0, 1]"))``.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> check_numbers(wake=(-1, "[0, inf)"))
    Traceback (most recent call last):
    bayescg.errors.ConfigError: wake=-1 must be a number in [0, inf)
    """
    for name, (value, interval) in numbers.items():
        low, high = map(float, interval[1:-1].split(","))
        x = _float(value)
        inside = (x >= low if interval[0] == "[" else x > low) and (x <= high if interval[-1] == "]" else x < high)
        if not inside:
            raise ConfigError(f"{name}={value!r} must be a number in {interval}")


def check_paths(**paths: Any) -> None:
    """Refuse what is no path: ``check_paths(out=out)``.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> check_paths(run_dir=3)
    Traceback (most recent call last):
    bayescg.errors.ConfigError: run_dir=3 must be a path
    """
    for name, value in paths.items():
        if not isinstance(value, str | os.PathLike):
            raise ConfigError(f"{name}={value!r} must be a path")


def check_positive(**values: Any) -> None:
    """Refuse numbers that are not positive and finite: ``check_positive(dt=dt)``.

    Raises
    ------
    ConfigError
    """
    for name, value in values.items():
        if not 0 < _float(value) < math.inf:
            raise ConfigError(f"{name}={value!r} must be positive and finite")


def stated(**values: Any) -> dict[str, Any]:
    """Those that are not None: ``check_positive(**stated(lag=lag))``.

    Examples
    --------
    >>> stated(lag=2.0, dim=None)
    {'lag': 2.0}
    """
    return {name: value for name, value in values.items() if value is not None}


def widths(hidden: Any) -> tuple[int, ...]:
    """Widths of the hidden layers of a network, as a tuple.

    Raises
    ------
    ConfigError
        Not a sequence of whole numbers, each at least 1.

    Examples
    --------
    >>> widths([64, 64])
    (64, 64)
    """
    sizes = _tuple(hidden)
    if sizes is None or not all(
        isinstance(n, Integral) and not isinstance(n, bool) and 0 < int(n) < _MOST for n in sizes
    ):
        raise ConfigError(f"hidden={hidden!r} must be a sequence of widths, whole numbers of at least 1: (64, 64), say")
    return tuple(int(n) for n in sizes)


def items_of(value: Any, name: str) -> tuple[Any, ...]:
    """The items of a list.

    Raises
    ------
    ConfigError
        It has none.

    Examples
    --------
    >>> items_of(3, "powers")
    Traceback (most recent call last):
    bayescg.errors.ConfigError: powers=3 must be a list
    """
    if (items := _tuple(value)) is None:
        raise ConfigError(f"{name}={value!r} must be a list")
    return items


def names_of(value: Any, name: str) -> tuple[str, ...]:
    """Names, such as the kinds of particles.

    Raises
    ------
    ConfigError
        No sequence of texts.

    Examples
    --------
    >>> names_of([1, 2], "kinds")
    Traceback (most recent call last):
    bayescg.errors.ConfigError: kinds=[1, 2] must be a list of names
    """
    words = tuple(value) if isinstance(value, Sequence) else (value,)
    if not all(isinstance(word, str) for word in words):
        raise ConfigError(f"{name}={value!r} must be a list of names")
    return words


def positive_pair(value: Any, name: str) -> tuple[float, float]:
    """Two positive numbers.

    Raises
    ------
    ConfigError
        Something else.

    Examples
    --------
    >>> positive_pair((1.0, -1.0), "ard")
    Traceback (most recent call last):
    bayescg.errors.ConfigError: ard=(1.0, -1.0) must be two numbers, positive and finite
    """
    numbers = _tuple(value) or ()
    if len(numbers) != 2 or not all(0 < _float(number) < math.inf for number in numbers):
        raise ConfigError(f"{name}={value!r} must be two numbers, positive and finite")
    return numbers


def whole_rows(rows: Any, what: str) -> list[list[int]]:
    """Rows of whole numbers, such as pairs of atoms.

    Raises
    ------
    ConfigError
        Something else; `what` says of what they are.

    Examples
    --------
    >>> whole_rows([(0, 1.5)], "pairs of atoms")
    Traceback (most recent call last):
    bayescg.errors.ConfigError: [(0, 1.5)] must be pairs of atoms: sequences of whole numbers
    """
    try:
        lists = [[int(n) for n in row] for row in rows]
        if all(i == n for numbers, row in zip(lists, rows, strict=True) for i, n in zip(numbers, row, strict=True)):
            return lists
    except (TypeError, ValueError, OverflowError):
        pass
    raise ConfigError(f"{rows!r} must be {what}: sequences of whole numbers")


def array_of(value: Any, what: str, kind: type[BayescgError] = ConfigError) -> np.ndarray:
    """A float64 array of numbers.

    Raises
    ------
    ConfigError
        It is of something else; or an error of another `kind`.

    Examples
    --------
    >>> array_of("all", "box=")
    Traceback (most recent call last):
    bayescg.errors.ConfigError: box= takes an array of numbers, not 'all'
    """
    import numpy as np  # here, as `import bayescg` alone does without

    value = value.detach().cpu() if hasattr(value, "detach") else value  # of torch
    try:
        if not np.iscomplexobj(value):
            return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        pass
    raise kind(f"{what} takes an array of numbers, not {value!r}")


def _float(value: Any) -> float:
    """As a float; what is no number is not in any interval."""
    try:
        return math.nan if isinstance(value, str | bool) or getattr(value, "ndim", 0) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _tuple(value: Any) -> tuple[Any, ...] | None:
    """Its items; None of what has none."""
    try:
        return tuple(value)
    except TypeError:
        return None


def row_of(rows: Iterable[Any], name: Any) -> Any:
    """The row of that `name`.

    Raises
    ------
    ConfigError
        There is none; the message lists those that there are.

    Examples
    --------
    >>> row_of([], "rg")
    Traceback (most recent call last):
    bayescg.errors.ConfigError: there is no 'rg' here, only nothing
    """
    by_name = {row.name: row for row in rows}
    if name not in by_name:
        near = did_you_mean(name, by_name)
        raise ConfigError(f"there is no {name!r} here, {near}only {', '.join(by_name) or 'nothing'}")
    return by_name[name]


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """``did you mean "steps"? `` or nothing.

    Examples
    --------
    >>> did_you_mean("step", ["seed", "steps"])
    'did you mean "steps"? '
    """
    near = get_close_matches(str(word).lower(), {k.lower(): k for k in known}, n=1, cutoff=0.6)
    return f'did you mean "{next(k for k in known if k.lower() == near[0])}"? ' if near else ""
