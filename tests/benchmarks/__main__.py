"""Print the table: ``python -m tests.benchmarks``; ``--help`` says what can be chosen."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.columns import COLUMNS
from tests.benchmarks.problems import PROBLEMS
from tests.benchmarks.race import race, sizes
from tests.benchmarks.table import table


def main() -> None:
    """Race what was chosen and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--batches", nargs="+", type=int, default=[])
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--block", type=float, default=0.2, help="seconds of a block")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: processor time, on a busy machine"
    )
    parser.add_argument("--json", type=Path, help="where to write all times")
    chosen = parser.parse_args()
    results = []
    for threads in chosen.threads if chosen.device == "cpu" else [1]:
        for problem, batch in sizes(chosen.problems, chosen.device, chosen.batches):
            how = {"rounds": chosen.rounds, "block": chosen.block, "clock": chosen.clock}
            results += race(chosen.columns, problem, batch, threads, chosen.device, **how)
            print(f"{problem} {batch}, {threads} threads: done", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(r) for r in results]))
    print(table(results, chosen.clock))


main()
