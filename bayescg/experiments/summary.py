"""``summary.json`` and ``posterior.nc``: what a run found, for programs; and the words for people."""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xarray import DataTree

from bayescg.checkpoint import whole, write_file
from bayescg.errors import OutputError
from bayescg.questions.finding import finite

if TYPE_CHECKING:
    from bayescg.experiments.directory import Stages
    from bayescg.experiments.recipes.recipe import Recipe
    from bayescg.experiments.schema import Experiment
    from bayescg.questions import Finding

__all__ = ["SCHEMA", "collect", "read", "read_words", "write", "write_posterior", "write_words"]

SCHEMA = 1
"""Version of the layout of ``summary.json``."""

_PACKAGES = ("bayescg", "torch", "pyro-ppl", "numpy", "xarray", "arviz-base", "mdtraj", "openmm")


def collect(experiment: Experiment, recipe: Recipe, finding: Finding, stages: Stages) -> dict[str, Any]:
    """The summary of a run whose stages are complete.

    Returns
    -------
    dict
        JSON: schema, experiment, seed, kind, versions, compiled, quantities, diagnostics, cost.
    """
    fits = recipe.fits()
    warned = [*(w for fit in fits for w in fit.diagnostics["warnings"]), *stages.warnings, *finding.warnings]
    return {
        "schema": SCHEMA,
        "experiment": experiment.experiment.name,
        "seed": experiment.run.seed,
        "kind": fits[0].model.kind,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "compiled": fits[0].diagnostics["compiled"],
        "quantities": finding.summary(),
        "diagnostics": {
            "quick": experiment.run.quick,
            **finite(finding.diagnostics),
            "warnings": list(dict.fromkeys(warned)),
        },
        "cost": {
            "energy_evaluations": recipe.energies(),
            "steps": sum(fit.cost["steps"] for fit in fits),
            "wall_seconds": round(stages.seconds, 1),
            "device": fits[0].cost["device"],
        },
    }


def write_words(path: Path, finding: Finding) -> dict[str, Any]:
    """Write ``findings.json``: remarks and tables, for the page and the terminal; what is in it."""
    words = finding.words()
    write_file(path / "findings.json", json.dumps(words, indent=1, ensure_ascii=False))
    return words


def read_words(path: Path) -> dict[str, Any]:
    """What `write_words` wrote; nothing for a run of an earlier version, or where it was damaged."""
    with suppress(OSError, ValueError):
        return json.loads((path / "findings.json").read_text(encoding="utf-8"))
    return {}


def write(path: Path, results: dict[str, Any]) -> None:
    """Write ``summary.json``, whole or not at all."""
    write_file(path / "summary.json", json.dumps(results, indent=1, allow_nan=False))


def read(path: Path) -> dict[str, Any]:
    """Read the summary of a finished run.

    Raises
    ------
    OutputError
        It is damaged or of another version.
    """
    file = path / "summary.json"
    try:
        results = json.loads(file.read_text())
        layout = results["schema"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"{file} is not a readable summary ({error}). Delete it and run: bayescg resume {path} (frames and fit are "
            "kept)"
        ) from error
    if layout != SCHEMA:
        versions = f"{file} has layout version {layout!r}, this bayescg reads version {SCHEMA}"
        raise OutputError(f"{versions}: use the bayescg that wrote it")
    return results


def write_posterior(path: Path, tree: DataTree | None, finding: Finding) -> None:
    """Write ``posterior.nc``, the draws of a fit and what was found besides, whole or not at all.

    Raises
    ------
    OutputError
        The disk is full or the directory cannot be written.
    """
    tree = DataTree() if tree is None else tree
    for group, dataset in finding.datasets.items():
        tree[group] = DataTree(dataset)
    with whole(path / "posterior.nc") as partial:
        tree.to_netcdf(partial, engine="h5netcdf")
