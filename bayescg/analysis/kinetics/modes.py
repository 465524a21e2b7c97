"""Slow modes as draws: eigenvalues, implied timescales and eigenfunctions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg.analysis.kinetics.integrands import values
from bayescg.analysis.quantity import Quantity, rounded
from bayescg.draws import interval
from bayescg.errors import DataError
from bayescg.feeding.chunks import chunks

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Functions", "SlowModes"]


@dataclass(frozen=True)
class Functions:
    """Draws of eigenfunctions in one basis, ``basis(x) @ coefficients + constant``.

    Attributes
    ----------
    basis : callable
    draws : ndarray of int, (some draws,)
        Which of all draws they are.
    coefficients : ndarray, (some draws, m, modes)
    constant : ndarray, (some draws, modes)
    """

    basis: Callable[[torch.Tensor], torch.Tensor]
    draws: np.ndarray
    coefficients: np.ndarray
    constant: np.ndarray

    def values(self, x: torch.Tensor) -> np.ndarray:
        """Of the basis at positions, (n, m).

        Raises
        ------
        DataError
            There are others than the modes are made of.
        """
        u, m = values(self.basis, x).numpy(), self.coefficients.shape[1]
        if u.shape[1] != m:
            raise DataError(
                f"the basis has {u.shape[1]} functions at these positions, and {m} at the frames of the modes: give "
                "positions of the same system"
            )
        return u

    def moments(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum over draws of the functions and of their squares at basis values (n, m), each (n, modes)."""
        c = np.concatenate([self.coefficients, self.constant[:, None]], 1)
        u = np.concatenate([u, np.ones((len(u), 1))], 1)
        square = np.einsum("dik,djk->ijk", c, c, optimize=True)
        return u @ c.sum(0), np.einsum("ni,ijk,nj->nk", u, square, u, optimize=True)


@dataclass(frozen=True, repr=False)
class SlowModes:
    """The slowest modes of the dynamics, as draws; mode 1 is the slowest, the constant function is left out.

    Attributes
    ----------
    eigenvalues : DataArray, (draw, mode)
        Rates, per unit of time.
    sd_by_source : dict of str to ndarray, (modes,)
        Standard deviations of the eigenvalues: ``sampling`` (finite, correlated trajectories) and, where the functions
        come from several refits, ``parameter``.
    lag : float or None
        None: of the generator.
    functions : list of Functions
        One for each refit.
    rank : int
        Independent combinations of functions that were kept.
    blocks : int
        In the bootstrap.
    inefficiency : float
        Of the slow modes: their statistical inefficiency as a part of all frames; 0 where frames have no order.
    relaxations : ndarray, (modes,), or None
        How often the slowest mode relaxes in the frames, as far as these tell of each mode: one that lives on less than
        a fifth of them, such as a rare state, counts for as much less. None where frames have no order.
    bias : ndarray, (modes,)
        Relative bias of the eigenvalues, by the jackknife over blocks, that was taken off.
    held_out : DataArray, (fold, mode)
        Eigenvalues on blocks that the modes were not found on.
    degenerate : list of list of int
        Modes that cannot be told apart: only the span of their eigenfunctions means anything, and the intervals of the
        single eigenvalues are rough.
    warnings : tuple of str
    unit : str
        Of time.
    refused : mapping of int to str
        Modes that have no interval, and why.
    """

    eigenvalues: xr.DataArray
    sd_by_source: dict[str, np.ndarray | None]
    lag: float | None
    functions: Sequence[Functions]
    rank: int
    blocks: int
    inefficiency: float
    relaxations: np.ndarray | None
    bias: np.ndarray
    held_out: xr.DataArray
    degenerate: list[list[int]]
    warnings: tuple[str, ...] = ()
    unit: str = ""
    refused: Mapping[int, str] = field(default_factory=dict)

    @property
    def timescales(self) -> xr.DataArray:
        """Implied timescales, 1 / eigenvalue, (draw, mode)."""
        return (1.0 / self.eigenvalues).rename("timescale")

    @property
    def mean(self) -> xr.DataArray:
        """Of the eigenvalues, (mode)."""
        return self.eigenvalues.mean("draw")

    @property
    def sd(self) -> xr.DataArray:
        """Of the eigenvalues, (mode)."""
        return self.eigenvalues.std("draw", ddof=1)

    @property
    def ci90(self) -> xr.DataArray:
        """90 % intervals of the eigenvalues, (bound, mode); NaN for modes that have none."""
        import xarray as xr

        bounds = np.asarray(interval(self.eigenvalues.values, 0.9))
        bounds[:, [mode - 1 for mode in self.refused]] = np.nan
        coords = {"bound": ["low", "high"], "mode": self.eigenvalues["mode"]}
        return xr.DataArray(bounds, dims=("bound", "mode"), coords=coords)

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """``eigenvalue_1``, ``timescale_1``, ``eigenvalue_2``, ... for summaries."""
        quantities = {}
        rate = f"1/{self.unit}" if self.unit else ""
        for k, mode in enumerate(self.eigenvalues["mode"].values):
            warning = self.refused.get(int(mode))
            for name, array, unit in (
                ("eigenvalue", self.eigenvalues, rate),
                ("timescale", self.timescales, self.unit),
            ):
                quantity = Quantity.of(array.values[:, k], unit, warning)
                share = quantity.sd / float(self.sd[k])
                sources = {s: None if v is None else float(v[k] * share) for s, v in self.sd_by_source.items()}
                quantities[f"{name}_{mode}"] = replace(quantity, sd_by_source=sources)
        return quantities

    def eigenfunctions(self, x: Any) -> xr.DataArray:
        """Draws of the eigenfunctions, (draw, frame, mode): zero mean, unit variance, aligned with each other.

        Parameters
        ----------
        x : Tensor, ndarray or Frames
            Positions (n, atoms, 3) or (n, dim).
        """
        import xarray as xr

        parts = list(chunks(x))
        out = np.empty((self.eigenvalues.shape[0], sum(map(len, parts)), self.eigenvalues.shape[1]))
        for f in self.functions:
            u = np.concatenate([f.values(part) for part in parts])
            out[f.draws] = np.einsum("nm,dmk->dnk", u, f.coefficients, optimize=True) + f.constant[:, None]
        coords = {"draw": self.eigenvalues["draw"], "mode": self.eigenvalues["mode"]}
        return xr.DataArray(out, dims=("draw", "frame", "mode"), coords=coords, name="eigenfunction")

    def eigenfunction_moments(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over draws of the eigenfunctions, each (n, modes), for any number of frames.

        Parameters
        ----------
        x : Tensor, ndarray or Frames
            Positions (n, atoms, 3) or (n, dim).
        """
        draws, rows = len(self.eigenvalues), []
        for part in chunks(x):
            sums = [f.moments(f.values(part)) for f in self.functions]
            mean, square = (np.sum([s[i] for s in sums], 0) / draws for i in (0, 1))
            rows.append((mean, np.sqrt(np.maximum(square - mean**2, 0.0))))
        return np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows])

    def to_dataset(self) -> xr.Dataset:
        """Draws of eigenvalues and timescales, with the rest as attributes."""
        import xarray as xr

        data = xr.Dataset({"eigenvalue": self.eigenvalues, "timescale": self.timescales, "held_out": self.held_out})
        return data.assign_attrs(
            lag=self.lag if self.lag is not None else "generator",
            blocks=self.blocks,
            rank=self.rank,
            warnings=list(self.warnings),
        )

    def __repr__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        of_modes = [q for name, q in self.quantities.items() if name.startswith("timescale")]
        timescales = ", ".join(f"{rounded(q.mean, q.sd)} ± {q.sd:.2g}" if q.ci90 else "no interval" for q in of_modes)
        of = "generator" if self.lag is None else f"lag {self.lag:g}"
        return (
            f"SlowModes({of}: timescales {timescales}{unit}; {len(self.eigenvalues)} draws, {self.blocks} blocks, "
            f"{self.rank} functions)"
        )
