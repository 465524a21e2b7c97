"""Powers of the time step: to which the action is known beforehand, and with which the rest of it grows."""

from __future__ import annotations

from collections.abc import Sequence

from bayescg.arguments import check_counts, items_of
from bayescg.errors import ConfigError

__all__ = ["check_order", "check_powers", "unknown_powers"]

_MOST_POWERS = 4


def check_order(order: int | None, system: bool, particles: bool) -> int:
    """To which order the action is known; by default 0 without a system, else 1, or 3 of particles.

    Raises
    ------
    ConfigError
        It is none of these.

    Examples
    --------
    >>> check_order(None, system=True, particles=False)
    1
    """
    if order is None:
        order = 0 if not system else 3 if particles else 1
    check_counts(order=(order, 0))
    if order not in ((0, 1, 3) if system else (0,)):
        raise ConfigError(f"order={order!r} is not known: use 0, or of a system's energy 1 or 3")
    return order


def check_powers(powers: Sequence[int] | None, most: int) -> tuple[int, ...] | None:
    """At most so many odd powers, where there are any.

    Raises
    ------
    ConfigError
        There are more of them, or none, or one is even.

    Examples
    --------
    >>> check_powers([3, 5], 40)
    (3, 5)
    """
    if powers is None:
        return None
    check_counts(**{f"powers[{k}]": (power, 1) for k, power in enumerate(items_of(powers, "powers"))})
    if not 0 < len(powers) <= most:
        raise ConfigError(f"powers={tuple(powers)}: name one power at least, and no more than there are waves")
    if any(power % 2 == 0 for power in powers):
        raise ConfigError(f"powers={tuple(powers)}: S is odd in the time step, so that steps back undo steps ahead")
    return tuple(powers)


def unknown_powers(order: int, lags: int) -> tuple[int, ...]:
    """The lowest beyond those known, as many as there are lags, at most four.

    Examples
    --------
    >>> unknown_powers(0, 1), unknown_powers(1, 2)
    ((1,), (3, 5))
    """
    first = order + (2 if order else 1)
    return tuple(range(first, first + 2 * min(lags, _MOST_POWERS), 2))
