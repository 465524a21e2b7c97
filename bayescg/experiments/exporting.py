"""The CVs of a finished run for an engine of molecular dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import bayescg as bcg
from bayescg.checkpoint import whole
from bayescg.errors import ConfigError, OutputError
from bayescg.experiments.directory import is_finished, read_experiment
from bayescg.experiments.recipes import recipe_of
from bayescg.experiments.recipes.recipe import OneFit
from bayescg.export.fitted_network import network_of
from bayescg.inference import Fit

__all__ = ["export"]


def export(
    path: str | Path, to: Literal["plumed", "openmm"], out: str | Path | None = None, refits: bool = True
) -> Path:
    """Write the CVs of a finished run as a folder: for PLUMED, or a native force of OpenMM for each, in XML.

    Parameters
    ----------
    path : path
        The run's directory.
    to : {"plumed", "openmm"}
    out : path, optional
        The folder. Default: ``plumed`` or ``openmm`` in that of the run.
    refits : bool
        As that of :func:`bayescg.export.to_plumed`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        `path` holds no finished run; the folder is not empty, or cannot be written.
    ConfigError
        The run is not of one fit; a force would be a PythonForce, whose file is a pickle.
    ModelError
        The CVs cannot be exported.
    """
    path = Path(path)
    experiment, folder = read_experiment(path), Path(out or path / to)
    if not is_finished(path):
        raise OutputError(f"the run in {path} is not finished; go on with it first: bayescg resume {path}")
    recipe = recipe_of(experiment)(experiment, path)
    if not isinstance(recipe, OneFit):
        raise ConfigError(
            f"{path} holds several fits: read one with bayescg.Fit.load(DIRECTORY), those in {path / 'fits'}, and "
            f"give it to bayescg.export.to_{to}"
        )
    for _, _, work in recipe.stages():  # all is on the disk
        work()
    context = recipe.context()
    if to == "plumed":
        return bcg.export.to_plumed(context.fit, folder, frames=context.frames, refits=refits)
    _write_forces(context.fit, folder, refits)
    return folder


def _write_forces(fit: Fit, folder: Path, refits: bool) -> None:
    import openmm

    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is there already and not empty: choose another folder with --out, or delete it")
    names = [f"z{i + 1}" for i in range(network_of(fit).latent_dim)]
    forces = {name: bcg.export.to_openmm(fit, name, refits=refits) for name in names}
    if not all(isinstance(force, openmm.CustomCVForce) for force in forces.values()):
        trained = " (or take the trained values alone, with --no-refits)" if refits and fit.gauge is not None else ""
        raise ConfigError(
            "these CVs need a PythonForce, whose file would be a pickle: make it where you simulate, with "
            "bayescg.export.to_openmm(bayescg.Fit.load(DIRECTORY)); for CVs of torsions and distances there is "
            f"--to plumed{trained}"
        )
    with whole(folder) as partial:
        partial.mkdir()
        for name, force in forces.items():
            (partial / f"{name}.xml").write_text(openmm.XmlSerializer.serialize(force))
