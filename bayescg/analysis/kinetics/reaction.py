"""Committors and reaction rates as draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bayescg.analysis.kinetics.integrands import values
from bayescg.analysis.kinetics.modes import Functions
from bayescg.analysis.quantity import Quantity, rounded
from bayescg.draws import interval
from bayescg.feeding.chunks import chunks

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Committor"]


@dataclass(frozen=True, repr=False)
class Committor:
    r"""The committor and the rates of a reaction, as draws.

    Attributes
    ----------
    functions : list of Functions
        One for each refit.
    rates : ndarray, (draws, 2)
        From `a` to `b` and back, per unit of time.
    sd_by_source : dict of str to ndarray, (2,)
        Standard deviations of the rates.
    lag : float
    blocks : int
        In the bootstrap.
    passages : float
        From one set to the other and back, about how many there were.
    held_out : ndarray, (folds,)
        :math:`\nu[q]` on blocks that q was not found on: the better the functions, the lower.
    warnings : tuple of str
    unit : str
        Of time.
    refused : str or None
        Why the rates have no interval.
    """

    functions: Sequence[Functions]
    rates: np.ndarray
    sd_by_source: dict[str, np.ndarray | None]
    lag: float
    blocks: int
    passages: float
    held_out: np.ndarray
    warnings: tuple[str, ...]
    unit: str
    refused: str | None = None

    @property
    def quantities(self) -> dict[str, Quantity]:
        """``rate_ab`` and ``rate_ba``."""
        unit = f"1/{self.unit}" if self.unit else ""
        parts = [{s: None if v is None else float(v[k]) for s, v in self.sd_by_source.items()} for k in (0, 1)]
        return {
            f"rate_{name}": Quantity.of(self.rates[:, k], unit, self.refused, sd_by_source=parts[k])
            for k, name in enumerate(("ab", "ba"))
        }

    def __call__(self, x: Any) -> xr.DataArray:
        """Draws of q, (draw, frame), none below 0 or above 1, at positions (n, atoms, 3) or (n, dim) or of Frames."""
        import xarray as xr

        draws = np.concatenate([self._draws(part) for part in chunks(x)], 1)
        return xr.DataArray(draws, dims=("draw", "frame"), name="committor")

    def summary(self, x: Any) -> xr.Dataset:
        """Mean, sd and the bounds low and high of the 90 % band of q, each (frame,), for any number of frames."""
        import xarray as xr

        rows = []
        for part in chunks(x):
            q = self._draws(part)
            rows.append(np.stack([q.mean(0), q.std(0, ddof=1), *interval(q, 0.9)]))
        columns = np.concatenate(rows, 1)
        return xr.Dataset({k: ("frame", v) for k, v in zip(("mean", "sd", "low", "high"), columns, strict=True)})

    def _draws(self, x: Tensor) -> np.ndarray:
        q = np.empty((len(self.rates), len(x)))
        for f in self.functions:
            q[f.draws] = f.coefficients[:, :, 0] @ values(f.basis, x).numpy().T
        return q.clip(0.0, 1.0)

    def __repr__(self) -> str:
        rates = ", ".join(f"{n} {rounded(q.mean, q.sd)} ± {q.sd:.2g}" for n, q in self.quantities.items())
        unit = f" 1/{self.unit}" if self.unit else ""
        return f"Committor({rates}{unit}; {len(self.rates)} draws, {self.blocks} blocks)"
