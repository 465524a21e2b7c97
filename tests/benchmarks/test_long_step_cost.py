"""What a step of a learned map costs, beside velocity Verlet, and how it grows with particles and trajectories.

Run with ``pytest -n 0 tests/benchmarks/test_long_step_cost.py --benchmark-only``.
Seconds are those of the processor, of one thread, on which others may take turns; the best of several rounds.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

import bayescg as bcg
from bayescg.models import ActionMap
from bayescg.systems import LennardJonesCluster

LAG, DT, ROUNDS = 0.04, 0.005, 2
SIZES = ((7, 100), (7, 1000), (13, 100), (38, 50))


def cluster(atoms: int) -> Any:
    return LennardJonesCluster(atoms, temperature_kT=0.1)


@cache
def fit() -> Any:
    pairs = bcg.sampling.short_trajectories(cluster(7), 30, lag=LAG, accuracy=1e-8)
    return bcg.fit(ActionMap(cluster(7), form="particles"), pairs, progress=False)


def each_step(run: Callable[[int], object], few: int, many: int) -> float:
    """Seconds of the processor for each of the steps that come after a few."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        run(few)
        between = time.process_time()
        run(many)
        seconds.append((time.process_time() - between - (between - began)) / (many - few))
    return min(seconds)


def row(atoms: int, count: int) -> tuple[float, float, float]:
    """Microseconds a step and trajectory of the map and of Verlet, and iterations."""
    system = cluster(atoms)
    warm = bcg.sampling.newtonian(system, 100, dt=DT, starts=count, stride=100, progress=False)
    step = fit().map(system=system)
    q, p = (torch.as_tensor(x).double().flatten(1) for x in (warm.positions, warm.momenta))
    iterations = float(torch.as_tensor(step.step(q, p, 1e-8).iterations).double().mean())

    def by_map(steps: int) -> None:
        a, b = q, p
        for _ in range(steps):
            a, b = step.step(a, b, 1e-8)[:2]

    def verlet(steps: int) -> None:
        bcg.sampling.newtonian(system, steps, dt=DT, starts=(q, p), stride=steps, progress=False)

    return each_step(by_map, 1, 2) / count * 1e6, each_step(verlet, 100, 300) / count * 1e6, iterations


def test_long_step_cost(benchmark, capsys):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = benchmark.pedantic(lambda: {size: row(*size) for size in SIZES}, rounds=1, iterations=1)
    finally:
        torch.set_num_threads(before)
    lines = [
        "| atoms | batch | a map's step, us | iterations | its steps a second | Verlet's step, us | map to Verlet |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (atoms, count), (by_map, verlet, iterations) in rows.items():
        numbers = (by_map, iterations, 1e6 / by_map, verlet, by_map / (verlet * LAG / DT))
        lines.append(f"| {atoms} | {count} | {' | '.join(f'{x:.3g}' for x in numbers)} |")
    benchmark.extra_info["rows"] = {str(size): values for size, values in rows.items()}
    with capsys.disabled():
        print("\n" + "\n".join(lines))
