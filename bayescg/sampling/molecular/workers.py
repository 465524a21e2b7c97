"""Running trajectories in worker processes, a few at a time, and stopping all of them when one fails."""

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from bayescg.errors import BayescgError, OutputError, SimulationError
from bayescg.stopping import stoppable

__all__ = ["run_all"]


def run_all(jobs: list[dict[str, Any]], processes: int, progress: Callable[[int, int], None]) -> None:
    """Run every job of `bayescg.sampling.molecular.worker`; return when all are done, raise when one is not.

    Parameters
    ----------
    jobs : list of dict
        What the worker reads, with ``name`` for messages.
    processes : int
        How many run at the same time.
    progress : callable
        Told (job number, steps done), from several threads.

    Raises
    ------
    SimulationError, OutputError
        A worker could not go on; the others are stopped.
    Interrupted
        A signal; no worker survives.
    """
    crew = _Crew()
    pool = ThreadPoolExecutor(processes)  # a thread per worker process, waiting for its reports
    futures = {pool.submit(crew.run, job, lambda step, i=i: progress(i, step)) for i, job in enumerate(jobs)}
    try:
        with stoppable(lambda: "Finished trajectories are kept, and the same call runs the others"):
            while futures:
                done, futures = wait(futures, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
    finally:
        crew.stop()
        pool.shutdown(cancel_futures=True)


class _Crew:
    """The processes that are alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alive: set[subprocess.Popen] = set()
        self._stopped = False

    def run(self, job: dict[str, Any], progress: Callable[[int], None]) -> None:
        """One job from start to end."""
        process = self._start()
        if process is None:
            return
        noise: deque[str] = deque(maxlen=20)
        last: dict[str, Any] = {}
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(job))
                process.stdin.close()
            except BrokenPipeError:  # it died before it read the job; its output says why
                pass
            for line in process.stdout:
                try:
                    last = json.loads(line)
                except json.JSONDecodeError:
                    noise.append(line)
                    continue
                if "step" in last and "error" not in last:
                    progress(last["step"])
        with self._lock:
            self._alive.discard(process)
            stopped = self._stopped
        if "done" not in last and not stopped:
            raise _failure(job, last, process.returncode, "".join(noise))

    def stop(self) -> None:
        """Kill what is alive and start nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._alive:
                process.kill()

    def _start(self) -> "subprocess.Popen[str] | None":
        package = Path(__file__).parents[3]  # found by the worker even where bayescg is not installed
        path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        with self._lock:
            if self._stopped:
                return None
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "bayescg.sampling.molecular.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
            )
            self._alive.add(process)
            return process


def _failure(job: dict[str, Any], last: dict[str, Any], status: int, noise: str) -> BayescgError:
    name = job["name"]
    if last.get("kind") == "output":
        return OutputError(
            f"{name}: cannot write {job['out']}: {last['error']}. Free some space or choose another directory; "
            "finished trajectories are kept, and the same call runs the others"
        )
    if last.get("kind") == "simulation":
        step, time = last["step"], last["step"] * job["dt"]
        return SimulationError(
            f"{name}: molecular dynamics cannot go on near step {step} ({time:g} ps) of the {last['phase']}: "
            f"{last['error']}. Check the starting structure and the force field, or choose a shorter time step"
        )
    return SimulationError(f"{name}: the worker process ended with status {status}. Its last words:\n{noise}")
