"""What a Boltzmann generator of peptides costs by parts, and how it grows with their atoms, on one thread.

Run with ``pytest -n 0 tests/benchmarks/test_generator_cost.py --benchmark-only``.
Seconds are those of the processor, on which others may take turns; the best of several rounds.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from bayescg.models import BoltzmannGenerator
from bayescg.systems import capped_peptide

ALANINES = (1, 3, 5)
COUNT, ROUNDS = 4096, 3


def cost(run: Callable[[], object]) -> float:
    """Microseconds of the processor for each configuration."""
    run()
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)
    return min(seconds) / COUNT * 1e6


def row(alanines: int) -> list[float]:
    """Costs of energy, of energy with forces, of a draw and of a density of one peptide."""
    system = capped_peptide("-".join(["ACE", *["ALA"] * alanines, "NME"]), solvent="obc1")
    start = torch.tensor(system.start, dtype=torch.float32).flatten()
    x = start + 0.005 * torch.randn(COUNT, system.dim, generator=torch.Generator().manual_seed(0))
    density = BoltzmannGenerator(system).density()

    def draws() -> Tensor:
        return density(torch.Size([COUNT]))

    with torch.no_grad():
        u = draws()  # whose density it remembers, but not that of a copy
        parts = (lambda: system.energy(x), lambda: system.forces(x), draws, lambda: density.log_prob(u.clone()))
        return [cost(part) for part in parts]


def test_generator_cost(benchmark, capsys):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = benchmark.pedantic(lambda: {n: row(n) for n in ALANINES}, rounds=1, iterations=1)
    finally:
        torch.set_num_threads(before)
    lines = ["| atoms | energy | with forces | draw | density |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {12 + 10 * n} | {' | '.join(f'{value:.3g}' for value in values)} |" for n, values in rows.items()]
    benchmark.extra_info["microseconds"] = rows
    with capsys.disabled():
        print("\n" + "\n".join(lines))
