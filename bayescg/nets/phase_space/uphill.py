"""The lengths of largest evidence."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["uphill"]


def uphill(evidence: Callable[[tuple[float, ...]], float], lengths: tuple[float, ...]) -> tuple[float, ...]:
    """Lengths from which no octave of one of them leads further up, which are the last that `evidence` is given.

    Examples
    --------
    >>> uphill(lambda lengths: -((lengths[0] - 7.0) ** 2) - (lengths[1] - 1.0) ** 2, (1.0, 1.0))
    (8.0, 1.0)
    """
    values = {lengths: evidence(lengths)}
    while True:
        best = max(values, key=lambda key: values[key])
        around = [(*best[:k], best[k] * factor, *best[k + 1 :]) for k in range(len(best)) for factor in (2.0, 0.5)]
        if not (new := [lengths for lengths in around if lengths not in values]):
            evidence(best)
            return best
        values |= {lengths: evidence(lengths) for lengths in new}
