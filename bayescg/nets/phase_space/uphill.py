"""The lengths of largest evidence."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

__all__ = ["uphill"]


def uphill(evidence: Callable[[], float], lengths: Tensor, begin: tuple[float, ...]) -> None:
    """Set lengths ``(k,)`` to some from which no octave of one of them leads further up.

    Examples
    --------
    >>> import torch
    >>> lengths = torch.ones(2)
    >>> uphill(lambda: -float((lengths[0] - 7.0) ** 2 + (lengths[1] - 1.0) ** 2), lengths, (1.0, 1.0))
    >>> lengths
    tensor([8., 1.])
    """

    def value(trial: tuple[float, ...]) -> float:
        lengths.copy_(lengths.new_tensor(trial))
        return evidence()

    values = {begin: value(begin)}
    while True:
        best = max(values, key=lambda key: values[key])
        around = [(*best[:k], best[k] * factor, *best[k + 1 :]) for k in range(len(best)) for factor in (2.0, 0.5)]
        if not (new := [trial for trial in around if trial not in values]):
            value(best)
            return
        values |= {trial: value(trial) for trial in new}
