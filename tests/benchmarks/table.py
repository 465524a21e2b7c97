"""The table of results as Markdown."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks.problems import PROBLEMS
from tests.benchmarks.race import Result, summary


def table(results: Sequence[Result], clock: str = "wall") -> str:
    """Milliseconds per step and seconds to the first step, one row a size."""
    columns = list(dict.fromkeys(r.column for r in results))
    rows: dict[tuple[str, int, int, str], dict[str, Result]] = {}
    for r in results:
        rows.setdefault((r.problem, r.batch, r.threads, r.device), {})[r.column] = r
    kind = "ms" if clock == "wall" else "ms of processor time"
    lines = [_machine(), "", f"Median {kind} per step, half the interquartile range, ratio to {columns[0]}:", ""]
    lines += _heading(columns)
    lines += [_row(key, [_step(row, c, columns[0]) for c in columns]) for key, row in rows.items()]
    lines += [
        "",
        "Seconds from a loaded package and empty caches to the end of the first step:",
        "",
        *_heading(columns),
    ]
    lines += [_row(key, [_first(row[c]) for c in columns]) for key, row in rows.items()]
    missing = dict.fromkeys(f"{r.column}: {r.missing}" for r in results if r.missing)
    return "\n".join([*lines, *(["", "Not here:", *missing] if missing else [])])


def _machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        found = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
        model = found[0].split(":")[1].strip() if found else model
    packages = []
    for name in ("torch", "pyro-ppl", "jax", "numpyro", "bayescg"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(packages)}"


def _heading(columns: Sequence[str]) -> list[str]:
    return ["| problem | batch | threads | " + " | ".join(columns) + " |", "|---|---|---|" + "---|" * len(columns)]


def _row(key: tuple[str, int, int, str], cells: Sequence[str]) -> str:
    problem, batch, threads, device = key
    where = str(threads) if device == "cpu" else device
    return f"| {problem} {PROBLEMS[problem].title} | {batch} | {where} | " + " | ".join(cells) + " |"


def _step(row: dict[str, Result], column: str, reference: str) -> str:
    if row[column].missing:
        return "-"
    median, spread, ratio = summary(row[column], row[reference])
    return f"{1e3 * median:.3g} ±{spread:.0%} ({ratio:.2f})"


def _first(result: Result) -> str:
    return "-" if result.missing else f"{result.first:.1f}"
