"""The table, by ``pytest -n 0 tests/benchmarks --benchmark-only``; ``python -m tests.benchmarks`` offers choices."""

from dataclasses import asdict

import pytest
import torch

from tests.benchmarks.columns import COLUMNS
from tests.benchmarks.problems import PROBLEMS
from tests.benchmarks.race import race, sizes
from tests.benchmarks.table import table


@pytest.mark.parametrize(("device", "threads"), [("cpu", 1), ("cpu", 2), ("cuda", 1)])
def test_steps(benchmark, capsys, device, threads):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")

    def measure():
        return [r for size in sizes(list(PROBLEMS), device) for r in race(list(COLUMNS), *size, threads, device)]

    # the columns take turns within one round of pytest-benchmark, whose own statistics do not know them
    results = benchmark.pedantic(measure, rounds=1, iterations=1)
    benchmark.extra_info["results"] = [asdict(r) for r in results]
    with capsys.disabled():
        print("\n" + table(results))
    assert all(r.seconds or r.missing for r in results)
