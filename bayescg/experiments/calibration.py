"""The calibration table: rows of Python files, each a coverage study, counted and written down as they are finished."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from bayescg.analysis.coverage import Calibrated, Coverage, coverage
from bayescg.checkpoint import write_file
from bayescg.errors import ConfigError

__all__ = ["Row", "calibrate", "read", "rows_of", "selected", "table", "write"]

_HEAD = """# Calibration

How often do 90 % intervals hold the truth? Each row is a study of independent data sets, every one of them simulated
and trained on anew. *Right* is the range of counts that a right interval leaves once in a hundred families of such
tests; *low* and *high* count intervals that lie wholly below and above the truth; *bias* is that of the means, in their
own standard deviations; *width* is the quoted over the true standard deviation. The *control*, the same intervals half
as wide unless said otherwise, has to lie below the range. *Refused* are answers that said that they had no interval.
*Intervals only*: the package says that the mean is no estimate there, so that its bias is not judged.
*No claim*: rows to compare with, of which the package promises nothing; they are counted, and not judged.

`bayescg calibrate` makes this table; `bayescg calibrate --only WORD` makes some of its rows again.

| of | quantity | truth | held | right | low, high | refused | bias | width | control | |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Row:
    """A coverage study, as a Python file lists it in ``ROWS``.

    Attributes
    ----------
    name : str
        Short and its own, as in ``committor-60-relaxations``.
    about : str
        What is simulated and asked, with its settings, in a line of the table.
    experiment : callable
        ``experiment(seed=...)`` of :func:`bayescg.analysis.coverage`: a function of the file, or a `partial` of one.
    truth : callable
        Without arguments: a mapping from names to true values.
    control : callable, optional
        An over-confident experiment; None: intervals half as wide.
    expect : {"right", "interval", "refused", "no claim"}
        What the package says of these answers: that they are right; that intervals are, but means are no estimates;
        that there are no intervals; or nothing at all.
    """

    name: str
    about: str
    experiment: Callable[..., Mapping[str, Any]]
    truth: Callable[[], Mapping[str, float]]
    control: Callable[..., Mapping[str, Any]] | None = None
    expect: Literal["right", "interval", "refused", "no claim"] = "right"

    @property
    def judged(self) -> bool:
        """Whether its intervals count among those that are judged together."""
        return self.expect in ("right", "interval")

    def verdict(self, result: Coverage) -> str:
        """The last column of the table: ``ok``, or what is wrong."""
        if self.expect == "no claim":
            return "no claim"
        if self.expect == "refused":
            return "ok" if all(row.of == 0 for row in result.rows) else "FAILED: not refused"
        if not (result.ok if self.expect == "right" else all(row.holds for row in result.rows)):
            return "FAILED"
        right = "ok" if self.expect == "right" else "ok, intervals only"
        if result.control_fails:
            return right
        return "FAILED: " + ("too few repeats to tell the control" if result.too_few else "control passes")


def rows_of(paths: Iterable[str | Path]) -> dict[Row, Path]:
    """Rows of Python files, and of those in folders. The files are executed.

    Raises
    ------
    ConfigError
        There is no such file, none has rows, or two rows are called the same.
    """
    rows: dict[Row, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise ConfigError(f"{path} does not exist; give Python files with ROWS, or folders of them")
        files = sorted(p for p in path.glob("*.py") if not p.name.startswith("test_")) if path.is_dir() else [path]
        for file in files:
            rows |= dict.fromkeys(getattr(_module(file.absolute()), "ROWS", ()), file.absolute())
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        problem = f"two rows are called {', '.join(twice)}" if twice else "there are no ROWS in these files"
        raise ConfigError(f"{problem}; see bayescg.experiments.calibration.Row")
    return rows


def calibrate(
    row: Row, file: Path, repeats: int = 200, seed: int = 0, cells: int | None = None, **how: Any
) -> tuple[Coverage, float]:
    """A row's coverage, and the seconds that it took; `how` is that of :func:`bayescg.analysis.coverage`."""
    control = None if row.control is None else _OfFile(file, row.name, "control")
    started = time.perf_counter()
    experiment = _OfFile(file, row.name, "experiment")
    result = coverage(experiment, row.truth(), repeats=repeats, seed=seed, cells=cells, control=control, **how)
    return result, time.perf_counter() - started


def write(results: Mapping[Row, Coverage], file: Path) -> None:
    """Add rows to a table, and to the JSON beside it that holds its numbers.

    Parameters
    ----------
    results : mapping of Row to Coverage
    file : path
        Of the table, in Markdown.
    """
    records = read(file)
    for row, result in results.items():
        record = {"about": row.about, "repeats": result.repeats, "verdict": row.verdict(result)}
        records[row.name] = record | {"rows": [asdict(calibrated) for calibrated in result.rows]}
    write_file(file.with_suffix(".json"), json.dumps(records, indent=1) + "\n")
    write_file(file, table(records))


def read(file: Path) -> dict[str, Any]:
    """The numbers of a table, by the names of its rows."""
    numbers = file.with_suffix(".json")
    return json.loads(numbers.read_text(encoding="utf-8")) if numbers.exists() else {}


def table(known: Mapping[str, Any]) -> str:
    """The page, from its numbers."""
    lines = []
    for record in known.values():
        for values in record["rows"]:
            row = Calibrated(**{**values, "acceptance": tuple(values["acceptance"])})
            low, high = row.acceptance
            cells = [record["about"], row.name, f"{row.truth:.4g}", f"{row.held} of {row.of}", f"{low} to {high}"]
            cells += [f"{row.low}, {row.high}", str(row.refused), f"{row.bias:+.2f}", f"{row.width:.2f}"]
            cells += [f"{row.control} of {row.control_of}", record["verdict"]]
            lines.append(f"| {' | '.join(cells)} |".replace("+nan", "").replace("nan", ""))
    return _HEAD + "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _OfFile:
    """A function of a row, found again by the processes that call it."""

    file: Path
    row: str
    attribute: str

    def __call__(self, seed: int) -> Mapping[str, Any]:
        row = next(row for row in _module(self.file).ROWS if row.name == self.row)
        return getattr(row, self.attribute)(seed=seed)


@cache
def _module(file: Path) -> ModuleType:
    """A file of rows, executed as a module of its own; it may import its neighbours, and from the working directory."""
    name = "calibration_" + re.sub(r"\W", "_", file.stem)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before, sys.path = sys.path, [str(file.parent), *sys.path, str(Path.cwd())]
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a stranger's file raises
        raise ConfigError(f"{file} does not run: {type(error).__name__}: {error}") from error
    finally:
        sys.path = before
    return module


def selected(rows: Mapping[Row, Path], words: Sequence[str]) -> dict[Row, Path]:
    """Rows with one of the words in their names; all where there are no words.

    Raises
    ------
    ConfigError
        None has.
    """
    matching = {row: file for row, file in rows.items() if not words or any(w in row.name for w in words)}
    if not matching:
        raise ConfigError(f"no row has {' or '.join(words)} in its name; there are {', '.join(r.name for r in rows)}")
    return matching
