"""The page: figures inside it, no script, nothing fetched, readable on light and on dark screens."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bayescg.checkpoint import write_file

__all__ = ["check_rows", "rows", "write_report"]


def write_report(
    path: Path,
    results: Mapping[str, Any],
    figures: Mapping[Path, str],
    config: str,
    description: str = "",
    cite: Sequence[str] = (),
) -> Path:
    """Write the report of a run, whole or not at all.

    Parameters
    ----------
    path : Path
        Of the page.
    results : mapping
        What ``summary.json`` holds.
    figures : mapping of Path to str
        PNG files and their captions.
    config : str
        The resolved experiment.
    description : str
        A line on the experiment.
    cite : sequence of str
        Publications.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bayescg.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        results=results,
        figures=[(base64.b64encode(p.read_bytes()).decode("ascii"), text, p.stem) for p, text in figures.items()],
        quantities=rows(results["quantities"]),
        sources=_sources(results["quantities"]),
        checks=check_rows(results["diagnostics"]),
        diagnostics={k: _text(v) for k, v in results["diagnostics"].items() if not isinstance(v, list | dict)},
        config=config,
        description=description,
        cite=[c for c in dict.fromkeys(cite) if c],
    )
    write_file(path, page)
    return path


def rows(quantities: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Name, mean, standard deviation, 90 % interval and unit of each quantity, to the digits that its error allows.

    What could not be estimated, such as the population of a region that was never entered, is ``unknown``.

    Examples
    --------
    >>> rows({"rg": {"unit": "nm", "mean": 0.28123, "sd": 0.00213, "ci90": [0.278, 0.2849]}})
    [('rg', '0.2812', '0.0021', '0.2780 to 0.2849', 'nm')]
    """
    table = []
    for name, q in quantities.items():
        digits = _decimals(q["sd"])
        ci90 = q["ci90"]
        interval = "none" if ci90 is None else " to ".join(_text(end, digits) for end in ci90)
        mean = "unknown" if q["mean"] is None else _text(q["mean"], digits)
        table.append((name, mean, _text(q["sd"], digits), interval, q["unit"]))
    return table


def check_rows(diagnostics: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Name, p-values of average and spread, bins in their bands, and intrinsic sd of each observable checked.

    Examples
    --------
    >>> found = {"p_mean": 0.42, "p_sd": 0.995, "bins_in_band": 0.9, "intrinsic_sd": 0.0123, "unit": "nm"}
    >>> check_rows({"predictive_check": {"rg": found}})
    [('rg', '0.42', '0.995', '90 %', '0.012 nm')]
    """
    table = []
    for name, o in diagnostics.get("predictive_check", {}).items():
        average, spread = (_text(p, 3 if min(p, 1 - p) < 0.01 else 2) for p in (o["p_mean"], o["p_sd"]))
        bins = "" if o["bins_in_band"] is None else f"{100 * o['bins_in_band']:.0f} %"
        table.append((name, average, spread, bins, f"{o['intrinsic_sd']:.2g} {o['unit']}".rstrip()))
    return table


def _sources(quantities: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Name, unit and the standard deviations by source of the quantities that have some."""
    table = []
    for name, q in quantities.items():
        parts = [q["sd_by_source"].get(k) for k in ("sampling", "parameter", "intrinsic")]
        if any(p is not None for p in parts):
            table.append((name, *("" if p is None else f"{p:.2g}" for p in parts), q["unit"]))
    return table


def _decimals(sd: float | None) -> int | None:
    """Decimal places that show two digits of a standard deviation."""
    if sd is None or sd <= 0:
        return None
    return max(0, 1 - int(f"{sd:.1e}".split("e")[1]))


def _text(value: Any, decimals: int | None = None) -> str:
    if value is None:
        return ""
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}"
