"""Rows that arrive chunk by chunk: in memory while they are few, in a memory-mapped file when they are many."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bayescg.errors import OutputError

__all__ = ["ROWS", "Store", "computed"]

ROWS = 1_000_000  # at a time


def computed(n: int, part: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Array of `n` rows that `part` gives a slice at a time: in memory while it is small, else in a temporary file.

    Examples
    --------
    >>> computed(5, lambda rows: np.arange(rows.start, rows.stop) ** 2)
    array([ 0,  1,  4,  9, 16])
    """
    store = Store()
    for start in range(0, n, ROWS):
        store.append(part(slice(start, min(start + ROWS, n))))
    return store.finish()


class Store:
    """Collects rows and returns them as one array.

    Parameters
    ----------
    path : path, optional
        A ``.npy`` file to write to from the start. Without it, rows stay in memory up to `memory_limit` and then go
        to a temporary file that is deleted with the array.
    memory_limit : int
        Bytes.

    Examples
    --------
    >>> store = Store(memory_limit=100)
    >>> for k in range(10):
    ...     store.append(np.full((4, 3), k, dtype=np.float32))
    >>> rows = store.finish()
    >>> rows.shape, type(rows).__name__, float(rows[-1, 0])
    ((40, 3), 'memmap', 9.0)
    """

    def __init__(self, path: Path | None = None, memory_limit: int = 2**28) -> None:
        self.path, self.memory_limit = path, memory_limit
        self.chunks: list[np.ndarray] = []
        self.temporary: Path | None = None
        self.file: BinaryIO | None = None
        self.rows, self.bytes = 0, 0
        self.dtype = np.dtype(np.float32)
        self.shape: tuple[int, ...] = ()

    def append(self, rows: np.ndarray) -> None:
        """Add `rows`, (m, ...)."""
        if self.rows == 0:
            self.dtype, self.shape = rows.dtype, rows.shape[1:]
        self.rows += len(rows)
        self.bytes += rows.nbytes
        self.chunks.append(np.ascontiguousarray(rows, dtype=self.dtype))
        if self.path is not None or self.bytes > self.memory_limit:
            self._spill()

    def finish(self) -> np.ndarray:
        """All rows, (n, ...): an array, or a read-only memory map."""
        if self.file is None:
            return np.concatenate(self.chunks) if self.chunks else np.empty((0, *self.shape), self.dtype)
        try:
            self._header()
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        self.file.close()
        assert self.path is not None
        rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        if self.temporary is not None:
            weakref.finalize(rows, shutil.rmtree, self.temporary, ignore_errors=True)
        return rows

    def abandon(self) -> None:
        """Drop everything, a temporary file included."""
        self.chunks = []
        if self.file is not None:
            self.file.close()
        if self.temporary is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def _spill(self) -> None:
        try:
            if self.file is None:
                if self.path is None:
                    self.temporary = Path(tempfile.mkdtemp(prefix="bayescg-"))
                    self.path = self.temporary / "rows.npy"
                self.file = self.path.open("wb")
                self._header()
            for chunk in self.chunks:
                self.file.write(chunk.data)
        except OSError as error:
            raise self._failed(error) from error
        self.chunks = []

    def _header(self) -> None:
        # numpy pads the header so that the first axis can grow: it is written again, in place, when the count is known
        assert self.file is not None
        self.file.seek(0)
        shape = (self.rows, *self.shape)
        described = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, described)

    def _failed(self, error: OSError) -> OutputError:
        self.abandon()
        return OutputError(
            f"cannot write decoded frames to {self.path}: {error.strerror}; free some space or give cache="
        )
