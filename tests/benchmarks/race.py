"""Columns side by side: each in its own process, taking turns block by block; a busy machine is then busy for all."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.problems import PROBLEMS

ROOT = Path(__file__).parents[2]


@dataclass
class Result:
    """One cell of the table.

    `seconds` are those per step of each block; `first` those from nothing (packages loaded, caches empty) to the end of
    the first step; `missing` says why there is no such column.
    """

    column: str
    problem: str
    batch: int
    threads: int
    device: str
    first: float = float("nan")
    seconds: list[float] = field(default_factory=list)
    missing: str = ""


def race(
    columns: Sequence[str],
    problem: str,
    batch: int,
    threads: int,
    device: str = "cpu",
    rounds: int = 15,
    block: float = 0.2,
    clock: str = "wall",
) -> list[Result]:
    """Times of all columns at one size, in `rounds` turns of blocks of about so many seconds.

    The clock is that on the wall or, for a machine that others use too, the processor time of the column's process: for
    one thread they agree on a quiet machine; with two, threads that wait by spinning count as well.
    """
    results = [Result(c, problem, batch, threads, device) for c in columns]
    with ExitStack() as stack:
        # started one after another: each has the machine for its first step
        workers = [stack.enter_context(_Worker(r, clock)) for r in results]
        present = [w for w in workers if not w.result.missing]
        for worker in present:
            worker.calibrate(block)
        for turn in range(rounds if present else 0):
            for worker in present[turn % len(present) :] + present[: turn % len(present)]:
                worker.result.seconds.append(worker.seconds(worker.count) / worker.count)
    return results


class _Worker:
    def __init__(self, result: Result, clock: str):
        self.result, self.clock, self.count = result, clock, 1

    def __enter__(self) -> "_Worker":
        r = self.result
        self.cache = tempfile.TemporaryDirectory()
        threads = str(r.threads)
        several = str(r.threads > 1).lower()
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={several} intra_op_parallelism_threads={threads}",
            "TORCHINDUCTOR_CACHE_DIR": self.cache.name,
            "JAX_ENABLE_X64": "0",
            "PYTHONPATH": str(ROOT),
        }
        if r.device == "cpu":
            environment["JAX_PLATFORMS"] = "cpu"
        command = [sys.executable, "-m", "tests.benchmarks.worker"]
        command += [r.column, r.problem, str(r.batch), threads, r.device, self.clock]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        answer = self._answer()
        r.missing, r.first = answer.get("missing", ""), answer.get("first", float("nan"))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.log.close()
        self.cache.cleanup()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"{self.result.column} ended without an answer:\n{self.log.read()[-2000:]}")
        return json.loads(line)

    def seconds(self, count: int) -> float:
        """Seconds that so many steps took."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return self._answer()["seconds"]

    def calibrate(self, block: float) -> None:
        """Warm up, and find how many steps fill a block."""
        while (seconds := self.seconds(self.count)) < block / 2:
            self.count *= 2
        self.count = max(1, round(self.count * block / seconds))


def summary(result: Result, reference: Result) -> tuple[float, float, float]:
    """Median seconds per step, half their interquartile range over the median, and the ratio to the reference.

    The ratio is the median over turns of ratios within a turn, which a machine busy for a while does not change.
    """
    seconds, others = np.array(result.seconds), np.array(reference.seconds)
    median = float(np.median(seconds))
    spread = float(np.subtract(*np.percentile(seconds, [75, 25]))) / 2 / median
    ratio = float(np.median(seconds / others)) if len(others) else float("nan")
    return median, spread, ratio


def sizes(names: Sequence[str], device: str, batches: Sequence[int] = ()) -> list[tuple[str, int]]:
    """Problems and batches of a table."""
    chosen = [PROBLEMS[n] for n in names]
    return [(p.name, b) for p in chosen for b in (batches or (p.batches if device == "cpu" else p.large))]
