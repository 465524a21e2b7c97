"""``summary.json`` and ``posterior.nc``: what a run found, for programs."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xarray import Dataset, DataTree

from bayescg.checkpoint import write_file
from bayescg.errors import OutputError
from bayescg.questions.slow_modes import SlowAnswers

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.directory import Stages
    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit
    from bayescg.questions.predictions import Answers

__all__ = ["SCHEMA", "collect", "read", "write", "write_posterior"]

SCHEMA = 1
"""Version of the layout of ``summary.json``."""

_PACKAGES = ("bayescg", "torch", "pyro-ppl", "numpy", "xarray", "arviz-base", "mdtraj", "openmm")


def collect(experiment: Experiment, fit: Fit, frames: Frames, answers: Answers, stages: Stages) -> dict[str, Any]:
    """The summary of a run whose stages are complete.

    Returns
    -------
    dict
        JSON: schema, experiment, seed, kind, versions, compiled, quantities, diagnostics, cost.
    """
    warned = [*fit.diagnostics["warnings"], *stages.warnings, *answers.warnings]
    return {
        "schema": SCHEMA,
        "experiment": experiment.experiment.name,
        "seed": experiment.run.seed,
        "kind": fit.model.kind,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "compiled": fit.diagnostics["compiled"],
        "quantities": answers.quantities,
        "diagnostics": {"quick": experiment.run.quick, **answers.diagnostics, "warnings": list(dict.fromkeys(warned))},
        "cost": {
            "energy_evaluations": _md_steps(experiment, frames) if fit.model.needs_frames else _queried(fit, frames),
            "steps": fit.cost["steps"],
            "wall_seconds": round(stages.seconds, 1),
            "device": fit.cost["device"],
        },
    }


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
        found = results["schema"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"{file} is not a readable summary ({error}). Delete it and run: bayescg resume {path} (frames and fit are "
            "kept)"
        ) from error
    if found != SCHEMA:
        told = f"{file} has layout version {found!r}, this bayescg reads version {SCHEMA}"
        raise OutputError(f"{told}: use the bayescg that wrote it")
    return results


def write_posterior(path: Path, fit: Fit, frames: Frames, experiment: Experiment, answers: Answers) -> None:
    """Write ``posterior.nc``, whole or not at all.

    Raises
    ------
    OutputError
        The disk is full or the directory cannot be written.
    """
    partial = path / ".posterior.nc.partial"
    draws = None if fit.weights.members else experiment.analysis.draws  # refits are not repeated
    tree = fit.posterior(draws, seed=experiment.run.seed, frames=frames)
    if answers.modes is not None:
        tree["slow_modes"] = DataTree(answers.modes.to_dataset())
    if isinstance(answers, SlowAnswers):
        if answers.timescales is not None:
            tree["implied_timescales"] = DataTree(answers.timescales.to_dataset())
        if answers.test is not None:
            parts = {"predicted": answers.test.predicted, "measured": answers.test.measured}
            tree["chapman_kolmogorov"] = DataTree(Dataset(parts))
    try:
        tree.to_netcdf(partial, engine="h5netcdf")
        partial.replace(path / "posterior.nc")
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path / 'posterior.nc'}: {error}. Free some space and resume.") from error


def _queried(fit: Fit, frames: Frames) -> int:
    """Energy evaluations of the training and of the weighted draws."""
    return fit.cost["energy_evaluations"] + frames.provenance["energy_evaluations"]


def _md_steps(experiment: Experiment, frames: Frames) -> int:
    """Energy evaluations of the simulation, equilibration included; none for frames that were given."""
    settings = experiment.simulation
    if experiment.data.frames is not None or settings is None:
        return 0
    every, warm_up = round(settings.frame_every / settings.dt), round(settings.equilibration / settings.dt)
    return len(frames) * every + settings.chains * warm_up
