"""Under which bias each frame was simulated, and what it would feel under the others."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayescg.errors import DataError

__all__ = ["Bias"]


@dataclass(frozen=True, eq=False)
class Bias:
    """Windows of umbrella sampling, or other ensembles at one temperature, as columns beside the frames.

    Error bars are made of independent ladders: `trajectory` of the frames numbers these, three or more, each with
    frames of all windows. Windows that never exchange replicas have estimates and no intervals, for nothing shows
    whether what they began with was forgotten (:func:`bayescg.analysis.mixing`).

    Parameters
    ----------
    window : array of int, (n,)
        In which each frame was simulated.
    energies : array, (n, windows)
        Bias of each frame in every window, in kT.
    replica : array of int, (n,), optional
        Which continuous path through configurations a frame belongs to; replicas that exchange windows go on. Without
        it each window of each trajectory is one.
    born : array of int, (replicas,), optional
        Window in which each replica began.

    Raises
    ------
    DataError
        The arrays do not fit each other.

    Examples
    --------
    >>> bias = Bias(window=[0, 1], energies=[[0.0, 2.0], [1.0, 0.1]])
    >>> len(bias), bias.windows, bias[1:].energies
    (2, 2, array([[1. , 0.1]]))
    """

    window: Any
    energies: Any
    replica: Any = None
    born: Any = None

    def __post_init__(self) -> None:
        window, energies = np.asarray(self.window), np.asarray(self.energies)
        n = len(window)
        if energies.ndim != 2 or len(energies) != n or window.ndim != 1:
            raise DataError(f"bias of shape {energies.shape} for {window.shape} windows: give (n, windows) and (n,)")
        if n and not (np.issubdtype(window.dtype, np.integer) and 0 <= window.min() <= window.max() < self._count):
            raise DataError(f"window= must hold integers from 0 to {self._count - 1}, one for each column of the bias")
        if not np.isfinite(energies).all():
            row, column = np.argwhere(~np.isfinite(energies))[0].tolist()
            raise DataError(f"the bias of frame {row} in window {column} is not finite")
        replica = window if self.replica is None else np.asarray(self.replica)
        if replica.shape != window.shape:
            raise DataError(f"replica= of shape {replica.shape} for {n} frames: give one number a frame")
        if self.born is not None:
            born = np.asarray(self.born)
            if n and not (replica.max() < len(born) and 0 <= born.min() <= born.max() < self._count):
                raise DataError(f"born= must hold a window, 0 to {self._count - 1}, for each of the replicas")
        for name, value in {"window": window, "energies": energies, "replica": replica}.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.window)

    def __getitem__(self, index: Any) -> "Bias":
        return replace(self, window=self.window[index], energies=self.energies[index], replica=self.replica[index])

    @property
    def windows(self) -> int:
        """How many there are."""
        return self._count

    @property
    def _count(self) -> int:
        return np.shape(self.energies)[1]
