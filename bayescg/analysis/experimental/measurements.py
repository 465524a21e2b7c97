"""Measured averages beside what forward models see of frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg.analysis.evaluation import evaluate, named_observables
from bayescg.errors import ConfigError, DataError
from bayescg.features.forward_models import ForwardModel

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["Group", "Measurements", "measurements"]


@dataclass(frozen=True)
class Group:
    """Data of one forward model.

    Attributes
    ----------
    columns : slice
        Of the data.
    error : float
        Scale of the forward model's unknown error.
    unit : str
    measured : callable
        From averages over frames to what is measured, arrays ``(..., k)``.
    """

    columns: slice
    error: float
    unit: str
    measured: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Measurements:
    """Data, and what of each frame makes them.

    Attributes
    ----------
    names : tuple of str
    value, sd : ndarray, (k,)
    per_frame : ndarray, (n, k)
    groups : tuple of Group
    """

    names: tuple[str, ...]
    value: np.ndarray
    sd: np.ndarray
    per_frame: np.ndarray
    groups: tuple[Group, ...]

    def seen(self, averages: np.ndarray) -> np.ndarray:
        """What is measured of averages over frames, each ``(..., k)``."""
        return np.concatenate([group.measured(averages[..., group.columns]) for group in self.groups], -1)

    def units(self) -> list[str]:
        """Of each datum."""
        return [group.unit for group in self.groups for _ in self.names[group.columns]]


def measurements(data: Mapping[str, Sequence[float]], forward: Any, frames: Frames) -> Measurements:
    """Find the forward model of each datum and evaluate it over the frames.

    Raises
    ------
    ConfigError
        A datum is no value with a standard deviation, or no forward model has its name.
    DataError
        Numbers of frames that are not one for each.
    """
    if not isinstance(data, Mapping) or not data:
        raise ConfigError('data are {"name": (value, standard deviation), ...}, at least one')
    for name, pair in data.items():
        if np.shape(pair) != (2,) or not np.isfinite(pair).all() or not pair[1] > 0:
            raise ConfigError(
                f"{name!r} is {pair!r}: give its value and its standard deviation, which is above 0 (of several "
                "measurements, of their mean)"
            )
    if isinstance(forward, Mapping):
        models: list[Any] = [_Own(name, forward[name]) for name in data if name in forward]
    else:
        models = _models(forward)
    every = [(model, k, name) for model in models for k, name in enumerate(model.names)]
    columns_of: dict[int, list[tuple[int, str]]] = {}
    for name in data:
        model, column = _match(name, every)
        columns_of.setdefault(models.index(model), []).append((column, name))
    names, blocks, groups = [], [], []
    for number, columns in sorted(columns_of.items()):
        model = models[number]
        values = model.values(frames) if isinstance(model, _Own) else evaluate(model, frames)
        blocks.append(values[:, [column for column, _ in columns]])
        each = slice(len(names), len(names) + len(columns))
        names += [name for _, name in columns]
        groups.append(Group(each, model.error, model.unit, _on_arrays(model)))
    value, sd = np.array([data[name] for name in names], dtype=np.float64).T
    return Measurements(tuple(names), value, sd, np.concatenate(blocks, 1), tuple(groups))


class _Own:
    """Numbers of frames that the user has, or a function of positions."""

    error = 0.0
    unit = ""

    def __init__(self, name: str, source: Any):
        self.names, self.source = [name], source

    def values(self, frames: Frames) -> np.ndarray:
        (source,) = named_observables([self.source], None, frames) if isinstance(self.source, str) else (self.source,)
        values = evaluate(source, frames) if callable(source) else np.asarray(source, dtype=np.float64)
        if values.shape != (len(frames),) or not np.isfinite(values).all():
            raise DataError(
                f"{self.names[0]!r} has values of shape {values.shape} for {len(frames)} frames: one finite number a "
                "frame is needed"
            )
        return values[:, None]

    def measured(self, average: torch.Tensor) -> torch.Tensor:
        return average


def _models(forward: Any) -> list[ForwardModel]:
    models = list(forward) if isinstance(forward, list | tuple) else [forward]
    for model in models:
        if not isinstance(model, ForwardModel):
            raise ConfigError(
                f"forward is a {type(model).__name__}; give what bcg.features.karplus, noe or pre return, several of "
                'these, or {"name": numbers of the frames or a function of positions}'
            )
    return models


def _match(name: str, every: list[tuple[Any, int, str]]) -> tuple[Any, int]:
    """The one column of that name, which may leave out the residue where there is one only."""
    matches = [(m, k) for m, k, full in every if full == name] or [
        (m, k) for m, k, full in every if full.startswith(f"{name} ")
    ]
    if len(matches) == 1:
        return matches[0]
    names = ", ".join(repr(full) for _, _, full in every)
    reason = "several forward models have" if matches else "no forward model has"
    raise ConfigError(f"{reason} an observable {name!r}; there are {names or 'none'}")


def _on_arrays(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda averages: model.measured(torch.from_numpy(np.ascontiguousarray(averages))).numpy()
