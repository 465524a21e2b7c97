"""Finished runs for engines, by the command line: what is written, and what is refused in words."""

import mdtraj
import openmm
import pytest
from typer.testing import CliRunner

import bayescg as bcg
from bayescg.cli import app
from bayescg.errors import ConfigError, OutputError
from bayescg.experiments import load
from bayescg.experiments.exporting import export
from bayescg.experiments.settings import to_toml

RUN = """
[experiment]
name = "torsions"
[data]
frames = ["frames.xtc"]
top = "top.pdb"
temperature = 300.0
[features]
name = "torsions"
[model]
name = "PredictiveCV"
"""


@pytest.fixture
def finished(frames, tmp_path):
    """Makes the directory of a finished run that holds a fit."""
    trajectory = mdtraj.Trajectory(frames.positions, frames.topology)
    trajectory.save_xtc(str(tmp_path / "frames.xtc"))
    trajectory[0].save_pdb(str(tmp_path / "top.pdb"))

    def make(fit):
        (tmp_path / "run.toml").write_text(RUN)
        path = tmp_path / "run"
        path.mkdir()
        (path / "config.toml").write_text(to_toml(load(str(tmp_path / "run.toml"))))
        (path / "summary.json").write_text("{}")
        fit.save(path / "fit")
        return path

    return make


def test_a_run_is_exported_by_the_command_line(finished, gaussian):
    path = finished(gaussian)
    done = CliRunner().invoke(app, ["export", str(path), "--to", "plumed"])
    assert done.exit_code == 0, done.output
    assert done.output.replace("\n", "").endswith(f"folder  {path / 'plumed'}")
    assert len((path / "plumed" / "COLVAR.expected").read_text().splitlines()) == 21
    out = path.parent / "forces"
    CliRunner().invoke(app, ["export", str(path), "--to", "openmm", "--out", str(out)], catch_exceptions=False)
    assert sorted(p.name for p in out.iterdir()) == ["z1.xml", "z2.xml"]
    force = openmm.XmlSerializer.deserialize((out / "z2.xml").read_text())
    assert force.getEnergyFunction() == bcg.export.to_openmm(gaussian, "z2").getEnergyFunction()
    for to in ("plumed", "openmm"):
        with pytest.raises(OutputError, match="is there already and not empty"):
            export(path, to, out)


def test_no_pickle_is_written(finished, refitted):
    path = finished(refitted)
    with pytest.raises(ConfigError, match=r"PythonForce, whose file would be a pickle.*--no-refits"):
        export(path, "openmm")
    assert not (path / "openmm").exists()
    assert len(list(export(path, "openmm", refits=False).iterdir())) == 2


def test_a_run_that_is_not_finished_is_refused(finished, gaussian):
    path = finished(gaussian)
    (path / "summary.json").unlink()
    with pytest.raises(OutputError, match="is not finished; go on with it first: bayescg resume"):
        export(path, "plumed")
