"""Rows of a memory-mapped array, chosen without copying them into memory."""

from typing import Any

import numpy as np

__all__ = ["Rows", "take"]


class Rows:
    """Some rows of a larger array, read only when they are asked for.

    Parameters
    ----------
    base : numpy.ndarray
        Usually a :class:`numpy.memmap`, shape (n, ...).
    rows : array of int
        Which rows, shape (m,).

    Examples
    --------
    >>> rows = Rows(np.arange(10.0).reshape(5, 2), np.array([4, 0]))
    >>> rows.shape, rows[0]
    ((2, 2), array([8., 9.]))
    """

    def __init__(self, base: np.ndarray, rows: np.ndarray) -> None:
        self.base, self.rows = base, np.asarray(rows, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that these rows would be."""
        return (len(self.rows), *self.base.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.base.ndim

    @property
    def dtype(self) -> np.dtype:
        """Type of a number."""
        return self.base.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        picked = self.base[self.rows[first]]
        return picked[(slice(None), *rest)] if rest and np.ndim(self.rows[first]) else picked[rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.base[self.rows], dtype=dtype)


def take(positions: "np.ndarray | Rows", index: Any) -> "np.ndarray | Rows":
    """Rows of `positions`: views of slices, copies in memory, and `Rows` of what is on disk.

    Examples
    --------
    >>> take(np.arange(4.0), [3, 1])
    array([3., 1.])
    """
    if isinstance(positions, Rows):
        return Rows(positions.base, positions.rows[index])
    if isinstance(positions, np.memmap) and not isinstance(index, slice):
        return Rows(positions, np.arange(len(positions))[index])
    return positions[index]
