"""The end of a fit on several processes of which one was lost."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayescg.errors import FitError, OutputError
from bayescg.inference.distributed import LostProcess
from bayescg.inference.job import Job
from bayescg.inference.resuming import save
from bayescg.stopping import claimed

__all__ = ["watched"]

_log = logging.getLogger("bayescg")


@contextmanager
def watched(job: Job, directory: Path | None) -> Iterator[None]:
    """Inside, losing a process ends the fit: its state is saved, and the error says what to do.

    Raises
    ------
    FitError
    """
    try:
        yield
    except LostProcess as error:
        job.leave()
        whereabouts = "There is no run_dir, so nothing was saved"
        if directory is not None:
            try:
                _save_once(job, directory / "checkpoint")
                whereabouts = f"The state is in {directory}, run again, on any number of processes, to go on from it"
            except OutputError as failure:
                whereabouts = f"The state could not be saved, an earlier checkpoint may be in {directory}: {failure}"
        message = f"{error}. This was at step {job.step} of {job.settings['steps']}. {whereabouts}"
        _log.error("%s", message)  # torchrun may end this process before Python prints the error
        raise FitError(message) from error


def _save_once(job: Job, directory: Path) -> None:
    """Save the state unless another process that is left has: all of them try."""
    with claimed(directory, patience=math.inf):
        if job.step > max((int(p.stem.split("-")[1]) for p in directory.glob("step-*.json")), default=-1):
            save(job, directory)
