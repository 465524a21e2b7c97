"""Many runs on this machine: worker processes that may die, each at the cost of one run's retry."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

from bayescg.errors import ConfigError
from bayescg.many.jobs import Job, Outcome, attempt
from bayescg.stopping import end_with

__all__ = ["cores", "in_processes", "refuse_unsendable"]

_GRACE = 60.0
"""Seconds that a worker has to write its checkpoint when it is told to stop."""


def in_processes(
    jobs: Sequence[Job], workers: int, retries: int, retried: Callable[[], None]
) -> Generator[tuple[Job, Outcome]]:
    """Outcomes of jobs as they come, from so many processes.

    Parameters
    ----------
    jobs : sequence of Job
    workers : int
        Processes; each is told to use its share of the cores.
    retries : int
        How often a job whose process died is given to another one.
    retried : callable
        Told each time.

    Raises
    ------
    ConfigError
        The processes cannot start.
    """
    waiting, deaths = deque(jobs), Counter[int]()
    crew: list[_Worker] = []
    workers, false_starts = min(workers, len(jobs)), 0
    try:
        while waiting or any(w.job for w in crew):
            while len(crew) < workers and sum(w.job is None for w in crew) < len(waiting):
                crew.append(_Worker(max(1, cores() // workers)))
            for worker in crew:
                if worker.ready and worker.job is None and waiting:
                    worker.give(waiting.popleft())
            heard = wait([w.connection for w in crew], timeout=1.0)
            for worker in list(crew):
                if worker.connection not in heard and worker.process.is_alive():
                    continue
                outcome, job, worker.job = worker.receive(), worker.job, None
                if outcome.stopped:
                    crew.remove(worker)
                    false_starts += not worker.ready
                    worker.leave(false_starts > retries)
                if job is None:
                    continue
                if not outcome.stopped:
                    yield job, outcome
                elif deaths[job.number] == retries:
                    yield job, Outcome(error=_died(worker.process.exitcode, retries + 1))
                else:
                    deaths[job.number] += 1
                    waiting.appendleft(job)
                    retried()
    finally:
        _dismiss(crew)


def refuse_unsendable(run: Callable[..., Any], settings: Sequence[Any]) -> None:
    """Refuse what no other process can be given.

    Raises
    ------
    ConfigError
        A lambda, a function of a notebook, settings that cannot be pickled.
    """
    name = getattr(run, "__name__", str(run))
    try:
        _Whole.dumps((run, settings))
    except Exception as error:  # pickling raises whatever an object's own methods do
        raise ConfigError(
            f"{name} or its settings cannot be sent to another process ({error}): define the function at the top level "
            "of a module, and give it numbers and names from which it makes the rest"
        ) from error
    if getattr(run, "__module__", "") == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        raise ConfigError(
            f"{name} is defined in a notebook or at a prompt, where other processes cannot find it. Write it to a file "
            "beside the notebook and import it from there, or give it to a Dask cluster, which takes such functions: "
            "cluster=distributed.LocalCluster(threads_per_worker=1)"
        )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process, our end of the pipe to it, and the job that it is at."""

    def __init__(self, threads: int):
        context = multiprocessing.get_context("spawn")  # a fork would inherit the threads' locks, but not the threads
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), name="bayescg-run")
        self.job: Job | None = None
        self.ready = False
        with _threads(threads):
            self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.job = job
        with suppress(OSError):  # it died; that is seen when it is listened to
            self.connection.send_bytes(_Whole.dumps(job))

    def receive(self) -> Outcome:
        """What it says; `stopped` where it died."""
        try:
            if not self.connection.poll():
                return Outcome(stopped=signal.SIGTERM)
            outcome = self.connection.recv()
        except (EOFError, OSError):
            return Outcome(stopped=signal.SIGTERM)
        except Exception as error:  # as importing the class of a result may raise anything
            return Outcome(error=f"its result cannot be read here: {type(error).__name__}: {error}")
        self.ready = True
        return outcome

    def leave(self, hopeless: bool) -> None:
        """See a process off that has ended; raise where none would get as far as being ready."""
        self.connection.close()
        self.process.join(_GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        if not self.ready and (hopeless or (self.process.exitcode or 0) > 0):
            raise ConfigError(
                "the worker processes cannot start; the reason stands above. They import the script that started them: "
                'keep the call in it below `if __name__ == "__main__":`'
            )


class _Whole(ForkingPickler):
    """Sends tensors by value: torch's own way leaves an open file behind for each of them."""

    _extra_reducers = {}  # noqa: RUF012 - those that torch registered are left out


def _serve(connection: Connection) -> None:
    """What a worker process does: jobs, one after the other, until nobody listens."""
    with suppress(OSError):
        os.setsid()  # a Ctrl-C in the terminal is the parent's to handle
    signal.signal(signal.SIGTERM, _stop)
    if sys.stderr is not None:
        sys.stderr = _NoTerminal(sys.stderr.buffer, line_buffering=True)
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    end_with(parent.pid, lambda: os.kill(os.getpid(), signal.SIGTERM))  # a fit writes its checkpoint on it
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        connection.send(Outcome())
        while True:
            outcome = _next(connection)
            try:
                message = _Whole.dumps(outcome)
            except Exception as error:  # pickling raises whatever an object's own methods do
                kind = type(outcome.result).__name__
                message = _Whole.dumps(Outcome(error=f"its result, a {kind}, cannot be sent back: {error}"))
            connection.send_bytes(message)
            if outcome.stopped:
                break


def _next(connection: Connection) -> Outcome:
    try:
        job = connection.recv()
    except (EOFError, KeyboardInterrupt):
        raise
    except Exception as error:  # as importing the callable's module may raise anything
        return Outcome(error=f"a worker process cannot import the callable: {type(error).__name__}: {error}")
    return attempt(job)


class _NoTerminal(TextIOWrapper):
    """Standard error without progress bars: those of several runs would overwrite each other."""

    def isatty(self) -> bool:
        return False


def _stop(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the number of threads of processes started inside; they read it when torch is imported."""
    before = os.environ.get("OMP_NUM_THREADS", "")
    os.environ["OMP_NUM_THREADS"] = str(min(count, int(before)) if before.isdigit() else count)
    try:
        yield
    finally:
        if before:
            os.environ["OMP_NUM_THREADS"] = before
        else:
            del os.environ["OMP_NUM_THREADS"]


def _dismiss(crew: Sequence[_Worker]) -> None:
    """Let idle workers go and stop the others; a second Ctrl-C does not wait for their checkpoints."""
    try:
        for worker in crew:
            worker.connection.close()
            if worker.job is not None:
                worker.process.terminate()
        deadline = time.monotonic() + _GRACE
        for worker in crew:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for worker in crew:
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _died(status: int | None, times: int) -> str:
    how = signal.Signals(-status).name if status is not None and status < 0 else f"status {status}"
    advice = "; if memory ran out, use fewer workers" if how == "SIGKILL" else ""
    return f"its worker process died {times} times, the last time by {how}{advice}"
