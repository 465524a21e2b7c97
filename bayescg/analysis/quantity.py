"""A number with its uncertainty, as draws."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayescg.draws import interval

__all__ = ["Quantity", "rounded"]


def rounded(value: float, sd: float) -> str:
    """`value` to the second digit of `sd`.

    Examples
    --------
    >>> rounded(4.77694, 0.0014), rounded(-123.4, 0.26), rounded(9.0, 56.0)
    ('4.7769', '-123.4', '9')
    """
    if not (math.isfinite(value) and math.isfinite(sd) and value and sd > 0):
        return f"{value:.3g}"
    digits = 2 + math.floor(math.log10(abs(value))) - math.floor(math.log10(sd))
    return f"{value:.{max(1, digits)}g}"


@dataclass(frozen=True)
class Quantity:
    """A number with its uncertainty, as draws.

    Attributes
    ----------
    mean, sd : float
        Of the draws; of few blocks or refits, whose draws have Student's tails, `sd` is the standard error.
    ci90 : (float, float) or None
        The 90 % interval; None where the data do not support one, and then `warning` says why.
    draws : ndarray, (draws,)
    unit : str
    visits : tuple of int
        How often the trajectories entered each region that the quantity is about.
    warning : str or None
    sd_by_source : dict
        Standard deviations by what they are about: ``sampling`` (finite, correlated trajectories), ``parameter``
        (finite training), ``intrinsic`` (the CV forgets coordinates). Their squares add up to that of `sd`; a source
        that is absent or None has no part in it.

    Examples
    --------
    >>> Quantity.of(np.arange(19.0), unit="kT")
    Quantity(9 ± 5.6 kT, 90 % in [0, 18])
    """

    mean: float
    sd: float
    ci90: tuple[float, float] | None
    draws: np.ndarray
    unit: str
    visits: tuple[int, ...] = ()
    warning: str | None = None
    sd_by_source: dict[str, float | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls, draws: np.ndarray, unit: str, warning: str | None = None, narrow: np.ndarray | None = None, **rest: Any
    ) -> Quantity:
        """Quantity of draws; with a `warning` it has no interval. Mean and sd are those of `narrow`, without tails."""
        draws = np.asarray(draws, dtype=np.float64)
        ci90 = None
        if warning is None:
            low, high = interval(draws, 0.9)
            ci90 = (float(low), float(high))
        narrow = draws if narrow is None else narrow
        return cls(
            float(narrow.mean()),
            float(narrow.std(ddof=min(1, len(draws) - 1))),
            ci90,
            draws,
            unit,
            warning=warning,
            **rest,
        )

    def __repr__(self) -> str:
        mean, *ends = (rounded(v, self.sd) for v in (self.mean, *(self.ci90 or ())))
        ending = f"90 % in [{', '.join(ends)}]" if ends else f"no interval: {self.warning}"
        return f"Quantity({mean} ± {self.sd:.2g}{self.unit and ' ' + self.unit}, {ending})"

    def to_dict(self) -> dict[str, Any]:
        """JSON of a run's summary: unit, mean, sd, ci90, sd_by_source."""
        sources = {k: self.sd_by_source.get(k) for k in ("sampling", "parameter", "intrinsic")}
        ci90 = None if self.ci90 is None else list(self.ci90)
        return {"unit": self.unit, "mean": self.mean, "sd": self.sd, "ci90": ci90, "sd_by_source": sources}
