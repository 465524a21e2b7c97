"""Many runs as one table: a row for each quantity of each run, for pandas and xarray, with figures and a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bayescg as bcg
from bayescg.checkpoint import whole, write_file
from bayescg.errors import ConfigError
from bayescg.experiments.many import sweep
from bayescg.many.jobs import name_of, plain
from bayescg.questions import Drawing, Table
from bayescg.report import QUICK_RUN, save_figures, write_page

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Study", "study"]

_NUMBERS = ("mean", "sd", "low", "high", "truth")
_MOST_FIGURES = 12


@dataclass(frozen=True)
class Study:
    """What many runs found.

    Attributes
    ----------
    settings : list of dict
        Of each run.
    results : list of dict or None
        Summaries; None of runs that failed.
    failures : list of dict
        ``settings`` and ``error`` of these.
    """

    settings: list[dict[str, Any]]
    results: list[dict[str, Any] | None]
    failures: list[dict[str, Any]]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each quantity of each run: its settings, ``quantity``, ``unit``, numbers, and what the run took.

        Numbers are ``mean``, ``sd``, the ends ``low`` and ``high`` of the 90 % interval, and ``truth``, NaN where there
        is none. Settings that are no numbers or words are written as JSON, and so is a setting that is both.
        """
        import pandas as pd

        keys = list(dict.fromkeys(key for changes in self.settings for key in changes))
        columns = {key: _column([changes.get(key) for changes in self.settings]) for key in keys}
        rows = []
        for k, result in enumerate(self.results):
            cells = {key: column[k] for key, column in columns.items()}
            for name, q in ({} if result is None else result["quantities"]).items():
                low, high = q.get("ci90") or (None, None)
                numbers = {**{k: q.get(k) for k in ("mean", "sd", "truth")}, "low": low, "high": high}
                numbers = {k: math.nan if numbers[k] is None else numbers[k] for k in _NUMBERS}
                assert result is not None
                took = result.get("cost", {}).get("wall_seconds", math.nan)
                warned = len(result["diagnostics"]["warnings"])
                rows.append({**cells, "quantity": name, "unit": q.get("unit", ""), **numbers, "warnings": warned,
                             "wall_seconds": took})  # fmt: skip
        return pd.DataFrame(rows, columns=pd.Index([*keys, "quantity", "unit", *_NUMBERS, "warnings", "wall_seconds"]))

    def to_xarray(self) -> xr.Dataset:
        """The same with a dimension for each setting, seeds among them, and one for quantities."""
        dims = [*dict.fromkeys(key for changes in self.settings for key in changes), "quantity"]
        return self.table.set_index(dims)[list(_NUMBERS)].to_xarray()

    @cached_property
    def groups(self) -> list[dict[str, Any]]:
        """Runs that differ in their seeds only, together: :func:`bayescg.experiments.many.sweep.collect`."""
        return sweep.collect(self.settings, self.results)

    def write(self, out: str | Path, title: str = "study", cite: Sequence[str] = ()) -> Path:
        """Write ``runs.csv``, ``runs.nc``, figures and ``report.html`` to a directory, and return the page.

        Where pyarrow is installed, there is ``runs.parquet``, too.

        Parameters
        ----------
        out : path
            Where the runs have their directories, if they have any: the page then has links to theirs.
        title : str
        cite : sequence of str
            Publications, for the page.

        Raises
        ------
        OutputError
            They cannot be written.
        """
        import pandas as pd

        out = Path(out)
        write_file(out / "runs.csv", self.table.to_csv(index=False))
        if len(self.table):
            with whole(out / "runs.nc") as partial_file:
                self.to_xarray().to_netcdf(partial_file, engine="h5netcdf")
            if find_spec("pyarrow"):
                with whole(out / "runs.parquet") as partial_file:
                    pd.read_csv(out / "runs.csv").to_parquet(partial_file)
        names = list(dict.fromkeys(self.table["quantity"]))
        figures = save_figures(out / "figures", {name: self._figure(name) for name in names[:_MOST_FIGURES]})
        done = sum(result is not None for result in self.results)
        about = f"{done} of {len(self.settings)} runs finished"
        if len(names) > _MOST_FIGURES:
            about += f"; figures of the first {_MOST_FIGURES} of {len(names)} quantities"
        versions = next((r["versions"] for r in self.results if r and "versions" in r), {})
        details = {
            "seconds of all runs": f"{sum(r.get('cost', {}).get('wall_seconds', 0.0) for r in self.results if r):,.0f}",
            "versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
        }
        if cite := [source for source in dict.fromkeys(cite) if source]:
            details["what to cite"] = "; ".join(cite)
        after = {}
        if self.failures:
            failed = [(_in_words(f["settings"]), f["error"]) for f in self.failures]
            after["Failed"] = Table(("settings", "error"), failed)
        after["Runs"] = self._runs(out)
        page = out / "report.html"
        return write_page(page, title, about, self._warnings(), self._agreement(), figures, after, details)

    def _figure(self, name: str) -> Drawing:
        of_name = self.table[self.table["quantity"] == name]
        spread = ", ".join(f"{m:.3g}" for m in of_name["mean"])
        return Drawing(
            partial(bcg.plot.study, self.table, name),
            f"{name}: each point is a run, with its 90 % interval; the bar is the average over seeds, and the dashed "
            "line what is known.",
            f"{name} of {len(of_name)} runs: {spread}",
        )

    def _warnings(self) -> list[str]:
        quick = any(result and result["diagnostics"].get("quick") for result in self.results)
        warned = [QUICK_RUN] if quick else []
        warned += [f"{len(self.failures)} of {len(self.settings)} runs failed: see below"] if self.failures else []
        for group in self.groups:
            where = f" at {_in_words(group['settings'])}" if group["settings"] else ""
            warned += [
                f"{answers} of {len(group['seeds'])} runs say nothing of how far to trust {name}{where}: they count in "
                "the mean and among seeds only"
                for name, q in group["quantities"].items()
                if (answers := len(group["seeds"]) - q["intervals"]) and q["intervals"]
            ]
            warned += [
                f"seeds disagree about {name}{where}: its error bars are too narrow"
                for name in sweep.disagreements(group["quantities"])
            ]
            if group["warnings"]:
                warned.append(f"{group['warnings']} of {len(group['seeds'])} runs warn{where}; most often:")
                warned += group["common_warnings"]
        return warned

    def _agreement(self) -> dict[str, Table]:
        note = (
            "Average over seeds of what one run says; of seeds: standard deviation between them; p: how often seeds "
            "lie as far apart by chance, if their error bars are right; held: intervals that hold what is known."
        )
        tables: dict[str, Table] = {}
        for group in self.groups:
            if group["quantities"]:
                columns, rows = sweep.table(group["quantities"])
                title = f"Quantities, {_in_words(group['settings'])}" if group["settings"] else "Quantities"
                tables[title] = Table(tuple(columns), [tuple(row) for row in rows], "" if tables else note)
        return tables

    def _runs(self, out: Path) -> Table:
        keys = list(dict.fromkeys(key for changes in self.settings for key in changes))
        rows: list[tuple[str, ...]] = []
        for changes, result in zip(self.settings, self.results, strict=True):
            own_page = Path(name_of(plain(changes))) / "report.html"
            link = str(own_page) if (out / own_page).exists() else ""
            cost = "" if result is None else f"{result.get('cost', {}).get('wall_seconds', math.nan):.1f}"
            warned = "failed" if result is None else str(len(result["diagnostics"]["warnings"]))
            rows.append((*(str(_cell(changes.get(key))) for key in keys), warned, cost.replace("nan", ""), link))
        columns = (*keys, "warnings", "seconds", "report")
        filled = [k for k in range(len(columns)) if k < len(keys) or any(row[k] for row in rows)]
        return Table(tuple(columns[k] for k in filled), [tuple(row[k] for k in filled) for row in rows])


def study(
    settings: Sequence[Mapping[str, Any]], results: Sequence[Any], failures: Sequence[Mapping[str, Any]] = ()
) -> Study:
    """Make a study of what :func:`bayescg.experiments.map` returned.

    Parameters
    ----------
    settings : sequence of mapping
        Of each run, as `map` was given them.
    results : sequence
        Of each: what ``summary.json`` of a run holds; or of a function a mapping from names to numbers, to
        :class:`bayescg.analysis.Quantity`, or to dicts with ``mean``, ``sd``, ``ci90``. None where it failed.
    failures : sequence of mapping
        Those of a RunError.

    Raises
    ------
    ConfigError
        Results are not as many, or none of these.

    Examples
    --------
    >>> settings = [{"seed": s, "width": w} for w in (0.1, 0.2) for s in range(3)]
    >>> found = study(settings, [{"height": s + 10 * w} for s in range(3) for w in (1, 2)])
    >>> found.table[["seed", "width", "quantity", "mean"]].head(2).values.tolist()
    [[0, 0.1, 'height', 10.0], [1, 0.1, 'height', 20.0]]
    >>> dict(found.to_xarray().sizes)
    {'seed': 3, 'width': 2, 'quantity': 1}
    """
    if len(settings) != len(results):
        raise ConfigError(f"there are {len(settings)} settings and {len(results)} results; give one for each")
    whole_results = [None if result is None else _summary(result) for result in results]
    return Study([dict(s) for s in settings], whole_results, [dict(f) for f in failures])


def _summary(result: Any) -> dict[str, Any]:
    if isinstance(result, Mapping) and "quantities" in result and "diagnostics" in result:
        return dict(result)
    if not isinstance(result, Mapping):
        raise ConfigError(f"a result is a {type(result).__name__}; let the function return names with numbers: a dict")
    return {"quantities": {str(k): _quantity(str(k), v) for k, v in result.items()}, "diagnostics": {"warnings": []}}


def _quantity(name: str, value: Any) -> dict[str, Any]:
    empty = {"unit": "", "mean": None, "sd": None, "ci90": None, "truth": None}
    if isinstance(value, Mapping):
        return {**empty, **value}
    if isinstance(value, bcg.analysis.Quantity):
        return {**empty, **value.to_dict()}
    try:
        return {**empty, "mean": float(value)}
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{name} is a {type(value).__name__}; give a number, a Quantity, or a dict with mean"
        ) from error


def _column(values: Sequence[Any]) -> list[Any]:
    """Cells of a setting, all of one kind, as files have them."""
    cells = [_cell(value) for value in values]
    kinds = {"number" if type(cell) in (int, float) else type(cell) for cell in cells}
    return cells if len(kinds) == 1 else [cell if isinstance(cell, str) else json.dumps(cell) for cell in cells]


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool) else "" if value is None else json.dumps(value)


def _in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())
