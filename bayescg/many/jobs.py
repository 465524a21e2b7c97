"""One of many runs, as a worker sees it: settings, a directory that outlives the worker, an outcome."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import signal
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayescg.errors import BayescgError, Interrupted, OutputError
from bayescg.stopping import claimed

__all__ = ["Job", "Outcome", "Task", "attempt", "finished", "name_of", "plain", "takes_run_dir"]

_PATIENCE = 10.0
"""Seconds to wait for a directory: the process that held it may have been killed a moment ago."""


class Task(ABC):
    """Something to be done in a directory of its own that keeps its own record there, as a run of an experiment."""

    processes = 1
    """How many it keeps busy itself."""

    @abstractmethod
    def finished(self, directory: Path) -> Any | None:
        """The result that a directory holds, or None.

        Raises
        ------
        OutputError
            It holds something else.
        """

    @abstractmethod
    def perform(self, directory: Path) -> Any:
        """Do it, or go on with it, and return the result."""


@dataclass(frozen=True)
class Job:
    """What a worker is given.

    Attributes
    ----------
    number : int
        Place among the results.
    settings : mapping
        Keywords of the callable; of a task they are its name.
    run : callable or Task
    directory : Path or None
        Of this run alone; a task always has one.
    """

    number: int
    settings: Mapping[str, Any]
    run: Callable[..., Any] | Task
    directory: Path | None


@dataclass(frozen=True)
class Outcome:
    """What a worker gives back: a result, an error with its traceback, or the number of the signal that stopped it."""

    result: Any = None
    error: str = ""
    traceback: str = ""
    stopped: int = 0


def attempt(job: Job) -> Outcome:
    """Run a job, or go on with it where its directory holds a part of it."""
    try:
        return Outcome(result=_perform(job))
    except (KeyboardInterrupt, Interrupted) as error:
        return Outcome(error="a signal stopped it", stopped=getattr(error, "number", signal.SIGINT))
    except BayescgError as error:
        return Outcome(error=str(error), traceback=traceback.format_exc())
    except (Exception, SystemExit) as error:
        return Outcome(error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())


def finished(job: Job) -> Outcome | None:
    """The outcome of a job that its directory holds finished, or None.

    Raises
    ------
    OutputError
        The directory holds another run, or something else.
    """
    if job.directory is None or not job.directory.is_dir():
        return None
    if isinstance(job.run, Task):
        result = job.run.finished(job.directory)
        return None if result is None else Outcome(result=result)
    record = _record(job)
    return Outcome(result=record["result"]) if "result" in record else None


def takes_run_dir(run: Callable[..., Any]) -> bool:
    """Whether a callable has a parameter of the name ``run_dir``."""
    with suppress(TypeError, ValueError):  # some of C have no signature
        return "run_dir" in inspect.signature(run).parameters
    return False


def name_of(settings: Mapping[str, Any]) -> str:
    """Name of the directory of a run: its settings, shortened by a digest where they are long or strange.

    Examples
    --------
    >>> name_of({"seed": 3, "fit.steps": 100})
    'seed=3,fit.steps=100'
    >>> name_of({"data.frames": ["/a/b.xtc"]})
    'data.frames=-a-b.xtc-571df0c2'
    """
    ordered = sorted(settings.items(), key=lambda item: (item[0] != "seed", item[0]))
    full = ",".join(f"{key}={v if isinstance(v, str) else json.dumps(v)}" for key, v in ordered)
    name = re.sub(r"[^\w=.,+-]+", "-", full, flags=re.ASCII)
    if name == full and len(name) <= 100:
        return name or "default"
    return f"{name[:80].strip('-')}-{hashlib.sha256(json.dumps(ordered).encode()).hexdigest()[:8]}"


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON holds them, NumPy's numbers as Python's.

    Raises
    ------
    TypeError, ValueError, AttributeError
        They hold something else.
    """
    return json.loads(json.dumps(dict(settings), default=lambda value: value.item()))


def _perform(job: Job) -> Any:
    if job.directory is None:
        assert not isinstance(job.run, Task)
        return job.run(**job.settings)
    if isinstance(job.run, Task):
        with claimed(job.directory, patience=_PATIENCE):
            pass  # the task claims it for itself
        before = finished(job)
        return before.result if before else job.run.perform(job.directory)
    with claimed(job.directory, patience=_PATIENCE):
        before = finished(job)
        if before:
            return before.result
        _write(job, {})
        result = job.run(**job.settings, **({"run_dir": job.directory} if takes_run_dir(job.run) else {}))
        if _is_json(result):
            _write(job, {"result": result})
        return result


def _write(job: Job, more: Mapping[str, Any]) -> None:
    from bayescg.checkpoint import write_file

    assert job.directory is not None
    write_file(job.directory / "run.json", json.dumps({"settings": plain(job.settings), **more}, indent=1))


def _record(job: Job) -> dict[str, Any]:
    """What ``run.json`` holds; empty before the run was begun."""
    assert job.directory is not None
    file = job.directory / "run.json"
    if not file.exists():
        return {}
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        settings = record["settings"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError(f"{file} is damaged ({error}); delete {job.directory} to run it again") from error
    if settings != plain(job.settings):
        raise OutputError(f"{job.directory} holds the run of other settings, {settings}; choose another out=")
    return record


def _is_json(result: Any) -> bool:
    """Whether JSON gives back the same thing."""
    try:
        return json.loads(json.dumps(result)) == result
    except (TypeError, ValueError):
        return False
