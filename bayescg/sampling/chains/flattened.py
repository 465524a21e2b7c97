"""Configurations all over the way between wells: hot dynamics, thinned until no region is crowded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts, check_positive
from bayescg.data import Frames
from bayescg.errors import ConfigError, SimulationError
from bayescg.sampling.chains.dynamics import langevin, overdamped
from bayescg.sampling.sampled_frames import heated, to_frames
from bayescg.systems.core import System, check_single

__all__ = ["flattened", "flattest"]

_CHUNK = 16_384


def flattened(
    system: System,
    n: int,
    *,
    dt: float,
    cv: Callable[[Tensor], Tensor] | None = None,
    bins: int = 20,
    ceiling: float | None = None,
    heat: float = 3.0,
    dynamics: str = "overdamped",
    friction: float = 1.0,
    steps: int = 20_000,
    chains: int = 100,
    stride: int = 100,
    starts: Any = None,
    compile: str = "auto",
    device: str = "auto",
    seed: int = 0,
    progress: bool | None = None,
) -> Frames:
    """Configurations to shoot from: dynamics at a higher temperature, thinned to be flat in energy, or over a CV.

    Where a reaction passes few configurations lie at equilibrium, and a model that is to know committors there learns
    nothing from wells. Heat brings them; and of the frames so many are kept in each cell as all cells have.

    These are no equilibrium frames, and no weights make them such.

    Parameters
    ----------
    system : System
        Whose energies are meant, at its temperature.
    n : int
        Configurations to keep.
    dt : float or openmm.unit.Quantity
        Time step of the hot dynamics.
    cv : callable, optional
        From positions (m, atoms, 3), or (m, dim), to (m,) or (m, k): flat over a grid of these, torsions say. None:
        flat in energy, which suits toy systems; the energies of a molecule are mostly those of its bonds.
    bins : int, default 20
        Cells along the energy, or along each CV.
    ceiling : float, optional
        Leave out what lies more than so many kT of the system above the lowest energy that was seen.
    heat : float, default 3.0
        The dynamics runs at so many times the temperature of the system.
    dynamics : {"overdamped", "langevin"}
    friction : float or openmm.unit.Quantity, default 1.0
        Of Langevin dynamics.
    steps, chains, stride, starts, compile, device, seed, progress
        Of the hot dynamics, as for `langevin`; its first tenth is not kept.

    Returns
    -------
    Frames
        Independent ones at the temperature of the system, with energies. ``provenance["cells"]`` counts those that
        configurations were taken from, ``provenance["pool"]`` those there were to choose from.

    Raises
    ------
    ConfigError
        A number is out of range, or `cv` gives another shape.
    SimulationError
        Fewer than `n` frames lie below the ceiling, or as `langevin`.

    Examples
    --------
    >>> import bayescg as bcg
    >>> hot = flattened(bcg.systems.QuarticDoubleWell(), 100, dt=0.01, ceiling=8.0, steps=2000, stride=10)
    >>> len(hot), bool(hot.energy.max() - hot.energy.min() <= 8.0)
    (100, True)
    """
    check_counts(n=(n, 1), bins=(bins, 1), steps=(steps, 1), stride=(stride, 1), chains=(chains, 1))
    if ceiling is not None:
        check_positive(ceiling=ceiling)
    check_single(system, "flattened")
    hot = heated(system, heat)
    common: dict[str, Any] = {
        "dt": dt, "chains": chains if starts is None else None, "starts": starts, "stride": stride, "energy": True,
        "equilibration": steps // 10, "compile": compile, "device": device, "seed": seed, "progress": progress,
    }  # fmt: skip
    if dynamics == "langevin":
        pool = langevin(hot, steps, friction=friction, **common)
    elif dynamics == "overdamped":
        pool = overdamped(hot, steps, **common)
    else:
        raise ConfigError(f'dynamics={dynamics!r} is not known; use "overdamped" or "langevin"')
    energy = np.asarray(pool.energy)
    low = np.arange(len(pool))
    if ceiling is not None:
        low = np.flatnonzero(energy <= energy.min() + ceiling * system.kT)
    if len(low) < n:
        raise SimulationError(
            f"{len(low)} of {len(pool)} hot frames lie within ceiling={ceiling} kT, fewer than n={n}: raise it, or "
            "take more steps or chains, or a smaller stride"
        )
    where = energy[low] if cv is None else _along(cv, pool, low)
    rows, cells = flattest(where, n, bins, np.random.default_rng([seed, 2]))
    rows = low[rows]
    recorded = {k: pool.provenance[k] for k in ("seed", "dt", "steps", "stride", "chains", "equilibration", "cost")}
    recorded |= {"heat": heat, "dynamics": dynamics, "ceiling": ceiling, "pool": len(low), "cells": cells}
    recorded["flat in"] = "energy" if cv is None else "cv"
    x = pool.gather(rows).reshape(n, -1)
    return to_frames(system, x, {"sampler": "flattened", **recorded}, energy=energy[rows])


def flattest(values: np.ndarray, n: int, bins: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Rows (n,) that lie as evenly as possible over the cells of a grid, and how many cells there are.

    Parameters
    ----------
    values : ndarray, (m,) or (m, k)
    n, bins : int
    rng : numpy.random.Generator

    Examples
    --------
    >>> rows, cells = flattest(np.r_[np.zeros(97), 1.0, 1.0, 2.0], 6, 3, np.random.default_rng(0))
    >>> sorted(rows)[-3:], cells
    ([np.int64(97), np.int64(98), np.int64(99)], 3)
    """
    columns = values.reshape(len(values), -1)
    low, high = columns.min(0), columns.max(0)
    place = (columns - low) / np.where(high > low, high - low, 1.0)
    _, cell, counts = np.unique(
        (place * bins).astype(int).clip(max=bins - 1), axis=0, return_inverse=True, return_counts=True
    )
    order = rng.permutation(len(values))
    order = order[np.argsort(cell.ravel()[order], kind="stable")]
    turn = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)  # first, second, ... of its cell
    return order[np.lexsort((rng.random(len(order)), turn))[:n]], len(counts)


def _along(cv: Callable[[Tensor], Tensor], pool: Frames, rows: np.ndarray) -> np.ndarray:
    """Values of the CVs, (rows, k)."""
    parts = []
    for start in range(0, len(rows), _CHUNK):
        x = torch.as_tensor(pool.gather(rows[start : start + _CHUNK]))
        with torch.no_grad():
            z = torch.as_tensor(cv(x))
        if z.ndim not in (1, 2) or len(z) != len(x) or not bool(torch.isfinite(z).all()):
            raise ConfigError(
                f"cv must map positions {tuple(x.shape)} to finite values ({len(x)},) or ({len(x)}, k), not "
                f"{tuple(z.shape)}"
            )
        parts.append(z.double().cpu().numpy().reshape(len(x), -1))
    return np.concatenate(parts)
