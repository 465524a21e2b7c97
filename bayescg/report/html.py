"""Pages: figures inside, nothing fetched, light and dark.

Where scripts are off, tables do not sort, and molecules do not turn.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescg.checkpoint import write_file
from bayescg.report import told
from bayescg.report.figures import Figures

if TYPE_CHECKING:
    from jinja2 import Template

    from bayescg.questions import Table

__all__ = ["write_page", "write_report"]


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
        PNG files, with caption and alternative text; a PDB file of the same name holds what can be turned.
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
    page = _template("report.html.j2").render(
        results=results,
        quick=told.QUICK_RUN if results["diagnostics"].get("quick") else "",
        figures=_inside(figures),
        viewer=_viewer(figures),
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


def write_page(
    path: Path,
    title: str,
    about: str,
    warnings: Sequence[str],
    tables: Mapping[str, Table],
    figures: Figures,
    after: Mapping[str, Table],
    details: Mapping[str, str],
) -> Path:
    """Write a page of many runs, whole or not at all; arguments and errors as of `write_report`.

    Tables stand before the figures, or `after` them. A cell that ends with ``report.html`` is a link to the page of a
    run.

    Returns
    -------
    Path
        `path`.
    """
    page = _template("study.html.j2").render(
        title=title,
        about=about,
        warnings=warnings,
        tables=tables,
        figures=_inside(figures),
        viewer=_viewer(figures),
        after=after,
        details=details,
    )
    write_file(path, page)
    return path


def _template(name: str) -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bayescg.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(name)


def _inside(figures: Figures) -> list[tuple[str, ...]]:
    """Of each figure the picture, caption, alternative text, and molecules or nothing."""
    molecules = [p.with_suffix(".pdb") for p in figures]
    return [
        (base64.b64encode(p.read_bytes()).decode("ascii"), *texts, pdb.read_text() if pdb.is_file() else "")
        for (p, texts), pdb in zip(figures.items(), molecules, strict=True)
    ]


def _viewer(figures: Figures) -> str:
    """3Dmol.js (N. Rego, D. Koes, Bioinformatics 31, 1322 (2015)), where there are molecules to turn."""
    if not any(p.with_suffix(".pdb").is_file() for p in figures):
        return ""
    folder = Path(__file__).parent / "vendored"
    licence, program = (folder / name for name in ("3Dmol-LICENSE.txt", "3Dmol-2.5.5-min.js"))
    return f"/*\n{licence.read_text('utf-8')}*/\n{program.read_text('utf-8')}"  # who gets the page gets the licence


def _sources(quantities: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Name, unit and the standard deviations by source of the quantities that have some."""
    table = []
    for name, q in quantities.items():
        parts = [q["sd_by_source"].get(k) for k in ("sampling", "parameter", "intrinsic")]
        if any(p is not None for p in parts):
            table.append((name, *("" if p is None else f"{p:.2g}" for p in parts), q["unit"]))
    return table
