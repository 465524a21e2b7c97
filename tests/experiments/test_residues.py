"""A run of a molecule of several residues from files, with torsions by their names."""

import json
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.experiments import load, report, run

SEQUENCE = "ACE-ALA-ALA-ALA-NME"
RESIDUES = ("ALA-2", "ALA-3", "ALA-4")

TOML = """
[experiment]
name = "three-alanine"
[run]
compile = "off"
[data]
frames = ["*.xtc"]
top = "topology.pdb"
temperature = 400.0
lag = 5.0
[features]
name = "torsions"
kind = ["phi", "psi"]
[model]
name = "ReversibleDeepMSM"
states = 6
[fit]
steps = {steps}
learning_rate = 0.005
members = {members}
[analysis]
torsions = ["phi", "psi"]
modes = 2
lags = [5.0]
draws = {draws}
differences = [["beta", "alpha"]]
[analysis.regions]
alpha = {{ "psi ALA-3" = [-120.0, 60.0] }}
beta = {{ "psi ALA-3" = [60.0, -120.0] }}
"""


def silent(_: str) -> None:
    """Say nothing."""


def test_torsions_go_by_residue_from_the_file_to_the_figures(tmp_path: Path) -> None:
    topology, positions = bcg.systems.peptide(SEQUENCE)
    x = np.asarray(positions._value) + np.random.default_rng(0).normal(scale=0.02, size=(300, 42, 3))
    frames = mdtraj.Trajectory(x, mdtraj.Topology.from_openmm(topology), time=np.arange(300.0))
    frames.save_xtc(str(tmp_path / "frames.xtc"))
    frames[0].save_pdb(str(tmp_path / "topology.pdb"))
    toml = tmp_path / "alanines.toml"
    toml.write_text(TOML.format(steps=3, members=2, draws=10).replace('"psi ALA-3"', "psi"))
    with pytest.raises(ConfigError, match=f"each of {', '.join(f'psi {r}' for r in RESIDUES)}; name one"):
        run(load(toml), tmp_path / "run", silent)
    assert not (tmp_path / "run").exists()
    toml.write_text(TOML.format(steps=3, members=2, draws=10))
    results = run(load(toml), tmp_path / "run", silent)
    assert not [w for w in results["diagnostics"]["warnings"] if "could not be computed" in w]
    assert {"population_alpha", "population_beta", "free_energy_difference"} <= results["quantities"].keys()
    figures = {p.stem for p in (tmp_path / "run" / "figures").iterdir()}
    for residue in RESIDUES:
        assert {f"free_energy_phi_{residue}", f"free_energy_torsions_{residue}", f"eigenfunctions_{residue}"} <= figures
    report(tmp_path / "run", silent, ["analysis.torsions=['psi ALA-4']", "analysis.modes=1"])
    figures = {p.stem for p in (tmp_path / "run" / "figures").iterdir()}
    assert {f for f in figures if f.startswith("free_energy")} == {"free_energy_psi_ALA-3", "free_energy_psi_ALA-4"}


@pytest.mark.slow
def test_timescales_of_a_peptide_are_those_of_deeptime_or_longer(tmp_path: Path) -> None:
    """TICA of the same torsions is linear in their sines and cosines: by the variational principle it is not above."""
    from deeptime.decomposition import TICA
    from openmm import app

    topology, positions = bcg.systems.peptide(SEQUENCE)
    field = app.ForceField("amber96.xml", "amber96_obc.xml")
    made: Any = field.createSystem(topology, constraints=None, removeCMMotion=False, hydrogenMass=3.0)
    system = bcg.systems.from_openmm(made, topology, 400.0, positions)
    frames = bcg.sampling.molecular_dynamics(system, 1000.0, chains=2, equilibration=50.0, out=tmp_path, seed=0)
    (tmp_path / "alanines.toml").write_text(TOML.format(steps=1000, members=5, draws=400))
    run(load(tmp_path / "alanines.toml"), tmp_path / "run", silent)
    quantities = json.loads((tmp_path / "run" / "summary.json").read_text())["quantities"]
    values = bcg.features.torsions(frames, ["phi", "psi"])(torch.as_tensor(frames.gather(slice(None)))).numpy()
    parts = [values[frames.trajectory == k] for k in (0, 1)]
    linear = TICA(lagtime=5).fit(parts).fetch_model().timescales(lagtime=5)
    for k in (1, 2):
        found = quantities[f"timescale_{k}"]
        assert found["mean"] > 0.9 * linear[k - 1]
        assert found["ci90"] is None or found["ci90"][0] < 1.2 * linear[k - 1]
