"""The page: figures inside it, no script, nothing fetched, readable on light and on dark screens."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bayescg.checkpoint import write_file
from bayescg.report import told
from bayescg.report.figures import Figures

__all__ = ["write_report"]


def write_report(
    path: Path,
    results: Mapping[str, Any],
    words: Mapping[str, Any],
    figures: Figures,
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
    words : mapping
        What ``findings.json`` holds: remarks, tables, how to read the quantities.
    figures : dict of Path to (str, str)
        PNG files, with caption and alternative text.
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
        quick=told.QUICK_RUN if results["diagnostics"].get("quick") else "",
        figures=[(base64.b64encode(p.read_bytes()).decode("ascii"), *texts) for p, texts in figures.items()],
        quantities=told.quantity_table(results["quantities"], words.get("truth_is", "truth")),
        words=words,
        sources=_sources(results["quantities"]),
        diagnostics=[
            *told.diagnostic_rows(results["diagnostics"], words.get("in_words", ())),
            *told.cost_rows(results["cost"]),
        ],
        config=config,
        zip=zip,
        description=description,
        cite=[c for c in dict.fromkeys(cite) if c],
    )
    write_file(path, page)
    return path


def _sources(quantities: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Name, unit and the standard deviations by source of the quantities that have some."""
    table = []
    for name, q in quantities.items():
        parts = [q["sd_by_source"].get(k) for k in ("sampling", "parameter", "intrinsic")]
        if any(p is not None for p in parts):
            table.append((name, *("" if p is None else f"{p:.2g}" for p in parts), q["unit"]))
    return table
