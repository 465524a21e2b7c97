"""Checkpoints of a sampler: what is written when, and whose checkpoint it is."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bayescg import checkpoint
from bayescg.arguments import check_paths
from bayescg.errors import CheckpointError

__all__ = ["Saved"]

EVERY = 30.0
"""Seconds between checkpoints."""


class Saved:
    """The checkpoints of one run in a directory, or none.

    Parameters
    ----------
    run_dir : path or None
        None: nothing is kept.
    identity : mapping
        JSON that says which run it is; a checkpoint of another run is refused.
    resume : bool
        Whether to go on from what is there.

    Attributes
    ----------
    directory : Path or None
        `run_dir`.
    newest : tuple of (dict of str to Tensor, dict), or None
        The newest checkpoint.

    Raises
    ------
    ConfigError
        `run_dir` is no path.
    CheckpointError
        The directory holds checkpoints of another run, or only damaged ones.
    """

    def __init__(self, run_dir: str | Path | None, identity: Mapping[str, Any], resume: bool):
        if run_dir is not None:
            check_paths(run_dir=run_dir)
        self.directory = None if run_dir is None else Path(run_dir)
        self.identity = dict(identity)
        self.newest: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self._last = time.monotonic()
        if self.directory is None:
            return
        if not resume:
            checkpoint.clear(self.directory / "checkpoint")
            return
        self.newest = checkpoint.latest(self.directory / "checkpoint")
        if self.newest is not None:
            theirs = self.newest[1]["identity"]
            for key in sorted(self.identity.keys() | theirs.keys()):
                if theirs.get(key) != self.identity.get(key):
                    raise CheckpointError(
                        f"{self.directory} holds a run with another {key} ({theirs.get(key)!r}, now "
                        f"{self.identity.get(key)!r}); give another run_dir, or resume=False to start anew"
                    )

    @property
    def advice(self) -> str:
        """What an interruption leaves."""
        if self.directory is None:
            return "No run_dir was given, so nothing was saved"
        return f"The same call goes on from the last checkpoint in {self.directory}"

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self.directory is not None and time.monotonic() - self._last >= EVERY

    def write(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write a checkpoint, keeping the one before it."""
        if self.directory is not None:
            body = {"identity": self.identity, "step": step, **meta}
            checkpoint.write(self.directory / "checkpoint", f"step-{step:012d}", tensors, body, keep=2)
            self._last = time.monotonic()
