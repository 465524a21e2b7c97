"""Values of CVs over frames, and bins along them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.analysis.evaluation import evaluate, label, named_observables, unit_of
from bayescg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.inference import Fit

__all__ = ["circular_of", "cv_values", "edges_of", "in_cells"]


def cv_values(fit: Fit | None, frames: Frames, cv: Any) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Values (members, n, k) with their names and units."""
    if cv is None:
        if fit is None:
            raise ConfigError("free_energy needs a fit, or cv=")
        values = np.moveaxis(evaluate(lambda x: fit.cv_draws(x).movedim(0, 1), frames), 1, 0)
        if fixed := getattr(fit.model, "fixed_cvs", 0):  # only these mean the same in every draw
            values = values[..., :fixed]
        k = values.shape[2]
        names, cv_units = tuple(f"CV {i + 1}" if k > 1 else "CV" for i in np.arange(k)), ("",) * k
    else:
        parts = named_observables(list(cv) if isinstance(cv, list | tuple) else [cv], fit, frames)
        columns = [evaluate(p, frames).reshape(len(frames), -1) for p in parts]
        values, sizes = np.concatenate(columns, 1)[None], [c.shape[1] for c in columns]
        names = tuple(
            f"{label(p)}{f' {i + 1}' if s > 1 else ''}" for p, s in zip(parts, sizes, strict=True) for i in np.arange(s)
        )
        cv_units = tuple(unit_of(p) for p, s in zip(parts, sizes, strict=True) for _ in np.arange(s))
    if values.shape[2] not in (1, 2):
        raise DataError(f"bins are made along one or two CVs, not {values.shape[2]}; choose with cv=")
    return values, names, cv_units


def circular_of(periodic: bool | Sequence[bool] | None, cv_units: Sequence[str]) -> tuple[bool, ...]:
    """Whether each CV is an angle: as stated, or where its unit is ``"rad"``.

    Raises
    ------
    ConfigError
    """
    k = len(cv_units)
    if periodic is not None and np.size(periodic) not in (1, k):
        raise ConfigError(f"periodic={periodic!r} must be one answer, or one for each of the {k} CV(s)")
    return tuple(np.broadcast_to([u == "rad" for u in cv_units] if periodic is None else periodic, k).tolist())


def edges_of(values: np.ndarray, bins: int, limits: Any, circular: Sequence[bool]) -> tuple[np.ndarray, ...]:
    """Edges of bins of equal width along each CV of values (members, n, k), or within limits.

    Raises
    ------
    ConfigError
        Limits that make no sense.
    """
    k = values.shape[2]
    if limits is None:
        low, high = values.min((0, 1)), values.max((0, 1))
        pad = 1e-6 * (high - low) + 1e-12
        pairs = [(-np.pi, np.pi) if c else (lo, hi + p) for c, lo, hi, p in zip(circular, low, high, pad, strict=True)]
    else:
        if np.size(limits) != 2 * k:
            raise ConfigError(f"range= needs (lo, hi) for each of the {k} CV(s), not {limits!r}")
        pairs = np.asarray(limits, dtype=np.float64).reshape(k, 2).tolist()
    if any(c and max(abs(lo), abs(hi)) > 2 * np.pi + 1e-6 for c, (lo, hi) in zip(circular, pairs, strict=True)):
        raise ConfigError(
            f"range={limits!r} of an angle is in radians, from -pi to pi; for degrees give np.deg2rad(...)"
        )
    if any(not lo < hi for lo, hi in pairs):
        raise ConfigError(f"range={limits!r}: each lower bound must lie below its upper bound")
    return tuple(np.linspace(lo, hi, bins + 1) for lo, hi in pairs)


def in_cells(values: np.ndarray, edges: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Number of each frame's bin (n,), and whether it is in one."""
    cell, within = np.zeros(len(values), dtype=np.int64), np.ones(len(values), dtype=bool)
    for v, e in zip(values.T, edges, strict=True):
        index = np.searchsorted(e, v, side="right") - 1
        within &= (index >= 0) & (index < len(e) - 1)
        cell = cell * (len(e) - 1) + index
    return cell, within
