"""Frames of many chains as they come: in memory, or in files beside the checkpoints."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bayescg.errors import CheckpointError, OutputError

__all__ = ["Recorder"]

_BUFFER = 2**25  # bytes kept until they are written in one piece


class Recorder:
    """Arrays that hold all frames, chain by chain, filled as the chains go on side by side.

    Parameters
    ----------
    example : dict of str to Tensor
        For each array, one frame of all chains, ``(chains, ...)``: its shape and type, not its numbers, count.
    frames : int
    directory : Path or None
        Where the arrays are files, ``NAME.npy``; None: in memory.
    resume : bool
        Whether the files are there already.

    Raises
    ------
    OutputError
        The disk has not room for all frames.
    CheckpointError
        The files to go on with are missing or of another size.

    Examples
    --------
    >>> recorder = Recorder({"energy": torch.zeros(2)}, frames=3)
    >>> for k in range(3):
    ...     recorder.put(k, {"energy": torch.tensor([k, 10.0 + k])})
    >>> recorder.flush()
    >>> recorder.arrays["energy"]
    array([[ 0., 1., 2.], [10., 11., 12.]], dtype=float32)
    """

    def __init__(
        self,
        example: dict[str, Tensor],
        frames: int,
        directory: Path | None = None,
        resume: bool = False,
    ):
        self.arrays: dict[str, np.ndarray] = {}
        for name, value in example.items():
            shape, kind = (len(value), frames, *value.shape[1:]), torch.empty(0, dtype=value.dtype).numpy().dtype
            if directory is None:
                self.arrays[name] = np.empty(shape, kind)
            elif resume:
                self.arrays[name] = _opened(directory / f"{name}.npy", shape, kind)
            else:
                self.arrays[name] = _made(directory / f"{name}.npy", shape, kind)
        self._pending: list[dict[str, Tensor]] = []
        self._first = 0
        self._most = max(1, _BUFFER // sum(value.numel() * value.element_size() for value in example.values()))

    def put(self, frame: int, values: dict[str, Tensor]) -> None:
        """Keep one frame of all chains; frames come in order.

        Parameters
        ----------
        frame : int
            Its place in every chain.
        values : dict of str to Tensor
            ``(chains, ...)`` for each array.
        """
        if not self._pending:
            self._first = frame
        self._pending.append({name: values[name].to("cpu", copy=True) for name in self.arrays})
        if len(self._pending) >= self._most:
            self._write()

    def flush(self) -> None:
        """Have everything in the arrays, and in the files if there are any."""
        self._write()
        for array in self.arrays.values():
            if isinstance(array, np.memmap):
                array.flush()

    def _write(self) -> None:
        if self._pending:
            stop = self._first + len(self._pending)
            for name, array in self.arrays.items():
                array[:, self._first : stop] = torch.stack([values[name] for values in self._pending], 1).numpy()
            self._pending = []


def _made(path: Path, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # frames of an earlier run may still be mapped
        array = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
        if hasattr(os, "posix_fallocate"):  # writing to a hole of a full disk through a map would kill the process
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OutputError(
            f"cannot write {path} ({np.prod(shape) * kind.itemsize / 1e9:.3g} GB): {error.strerror or error}. Free "
            "some space, choose another run_dir, or keep fewer frames (a larger stride)"
        ) from error
    return array


def _opened(path: Path, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    try:
        array = np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); start anew with resume=False") from error
    if array.shape != shape or array.dtype != kind:
        raise CheckpointError(f"{path} holds other frames than its checkpoint; start anew with resume=False")
    return array
