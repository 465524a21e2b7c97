"""Many runs on the workers of a Dask scheduler, on as many machines as it has."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from bayescg.errors import ConfigError
from bayescg.many.jobs import Job, Outcome, attempt

__all__ = ["on_cluster"]

_TIMEOUT = 10.0
"""Seconds that a scheduler has to answer."""

_one_at_a_time = threading.Lock()


def on_cluster(
    jobs: Sequence[Job], cluster: Any, retries: int, retried: Callable[[], None]
) -> Generator[tuple[Job, Outcome]]:
    """Outcomes of jobs as they come, from the workers of a scheduler.

    Parameters
    ----------
    jobs : sequence of Job
    cluster : str or dask cluster
        The scheduler's address, or an object that knows it.
    retries : int
        How often a job whose worker died is given to another one.
    retried : callable
        Told each time.

    Raises
    ------
    ConfigError
        Dask is not installed, or no scheduler answers.
    """
    try:
        import distributed
    except ImportError as error:
        raise ConfigError(
            f"cluster= needs dask.distributed ({error}): pip install 'bayescg[cluster]', here and for the workers"
        ) from error
    try:
        client = distributed.Client(cluster, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {cluster} within {_TIMEOUT:g} s ({error}). Start one with `dask scheduler` "
            "and give the address that it prints, such as tcp://10.0.0.1:8786"
        ) from error
    topic = f"bayescg-{uuid4().hex}"
    starts, submitted = Counter[int](), Counter[int]()

    def began(event: Any) -> None:
        starts[event[1]] += 1
        if starts[event[1]] > 1:
            retried()

    def submit(job: Job) -> distributed.Future:
        submitted[job.number] += 1
        return client.submit(_attempt, job, topic, key=f"{topic}-{uuid4().hex}", pure=False)

    with client:
        client.subscribe_topic(topic, began)
        under_way = {submit(job): job for job in jobs}
        # results are fetched at once: one that is lost with its worker would have to be computed again
        results = distributed.as_completed(under_way, loop=client.loop, with_results=True, raise_errors=False)
        try:
            for future, outcome in results:
                job = under_way.pop(future)
                # not by the future's status: a worker that died since then does not take back what was fetched
                if not isinstance(outcome, Outcome):
                    outcome = _failure(outcome[1] if isinstance(outcome, tuple) else outcome)
                # Dask also suspects jobs that only waited beside the one that killed their worker
                if outcome.stopped and max(starts[job.number], submitted[job.number]) <= retries:
                    again = submit(job)
                    under_way[again] = job
                    results.add(again)
                    continue
                yield job, outcome
        finally:
            client.cancel(list(under_way))


def _attempt(job: Job, topic: str) -> Outcome:
    """What a worker does, whatever its number of threads: seeds are set for a whole process."""
    from distributed import get_client

    with _one_at_a_time:
        client: Any = get_client()
        with suppress(TimeoutError):  # word of a start is not worth waiting for without end
            # it has arrived when this returns, whatever the job does to us
            client.sync(client.scheduler.log_event, topic=topic, msg=job.number, callback_timeout=_TIMEOUT)
        return attempt(job)


def _failure(error: BaseException) -> Outcome:
    """What became of a job whose own outcome never came."""
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return Outcome(error=f"its worker died again and again: {error}", stopped=signal.SIGTERM)
    return Outcome(error=f"the cluster could not run it: {type(error).__name__}: {error}")
