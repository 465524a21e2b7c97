"""A molecule without data, from the command's experiment to figures, held to the shipped reference."""

import json
from collections.abc import Callable
from pathlib import Path

import mdtraj as md
import numpy as np
import pytest

from bayescg import Fit
from bayescg.errors import ConfigError
from bayescg.experiments import load, run
from bayescg.experiments.build import check, frames_of, model_of
from bayescg.experiments.schema import Experiment, Named
from bayescg.modelling import find_model
from bayescg.questions.reference import HeldToReference
from bayescg.questions.references import load_reference
from bayescg.systems import capped_peptide

NO_REFERENCE = "analysis.reference=none"
SMALL = ("fit.steps=30", "fit.batch_size=32", "analysis.samples=1000", "model.hidden=[8]")


def check_reference(experiment: Experiment) -> None:
    HeldToReference().check(experiment, find_model(experiment.model.name))


def silent(_: str) -> None:
    """Say nothing."""


def test_the_experiment_is_sound() -> None:
    experiment = load("alanine-dipeptide-embedded")
    check(experiment)
    assert experiment.analysis.reference is not None
    regions = load_reference(experiment.analysis.reference).regions
    assert all(regions[name] == region for name, region in experiment.analysis.regions.items())
    assert load("alanine-dipeptide-embedded", changes=["analysis.reference=none"]).analysis.reference is None


@pytest.mark.slow
def test_a_run_is_held_to_the_reference(tmp_path: Path) -> None:
    run(load("alanine-dipeptide-embedded", quick=True, changes=SMALL), tmp_path / "run", silent)
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    for name in ("cv_phi", "cv_psi", "predicted", "free_energy_torsions"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").exists(), name
    known = load_reference("alanine-dipeptide-obc1-300K")
    assert found["quantities"]["population_phi_negative_alpha"]["truth"] == known.populations["phi_negative, alpha"][0]
    assert found["quantities"]["rg"]["truth"] == known.averages["rg"][0]
    told = found["diagnostics"]["ramachandran"]
    assert told["bins"] == 64
    assert min(told["kl_generated"], told["kl_reweighted"]) > told["kl_floor_of_reference"] > 0
    assert any("may lack a basin" in warning for warning in found["diagnostics"]["warnings"])  # 30 steps teach little
    assert found["quantities"]["cv_information"]["unit"] == "nats"
    assert set(found["diagnostics"]["explained_by_cvs"]) >= {"cos phi", "sin phi", "cos psi", "sin psi", "rg"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("system.temperature=330.0", "set system.temperature=300.0, or analysis.reference=none"),
        ("system.solvent=obc2", "set system.solvent=obc1, or"),
        ("system.solvent=none", "with solvent = none the system is another"),
        ("system.force_field=amber14", "set system.force_field=amber96, or"),
        ("system.name=DoubleWell", "not of DoubleWell"),
        ("analysis.reference=nothing", "shipped are"),
    ],
)
@pytest.mark.parametrize("name", ["alanine-dipeptide-embedded", "alanine-dipeptide-boltzmann"])
def test_a_reference_of_something_else_is_refused(name: str, change: str, told: str) -> None:
    if change == "system.name=DoubleWell":
        experiment = load(name)
        experiment = experiment.model_copy(update={"system": Named(name="DoubleWell")})
    else:
        experiment = load(name, changes=[change])
    with pytest.raises(ConfigError, match=told):
        check_reference(experiment)
    check_reference(experiment.model_copy(update={"analysis": load(name, changes=[NO_REFERENCE]).analysis}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("system.sequence=ACE-ALA-ALA-NME", "set system.sequence=ACE-ALA-ALA-ALA-NME, or analysis.reference=none"),
        ("analysis.reference=alanine-dipeptide-obc1-300K", "not of capped_peptide"),
    ],
)
def test_a_reference_of_another_sequence_is_refused(change: str, told: str) -> None:
    check(load("trialanine-boltzmann"))
    with pytest.raises(ConfigError, match=told):
        check_reference(load("trialanine-boltzmann", changes=[change]))


@pytest.mark.slow
def test_every_residue_is_held_to_its_own_plane(tmp_path: Path) -> None:
    """The divergences are those of mdtraj's angles of the same draws, each from the plane of its residue."""
    experiment = load("trialanine-boltzmann", quick=True)
    run(experiment, tmp_path / "run", silent)
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    known = load_reference("trialanine-obc1-300K")
    fit = Fit.load(tmp_path / "run" / "fit", model=model_of(experiment, None, tmp_path))
    draws = fit.generate(2000, draws=1, seed=0)[0].double().numpy()
    molecule = md.Trajectory(draws, md.Topology.from_openmm(capped_peptide("ACE-ALA-ALA-ALA-NME").topology))
    angles = [compute(molecule)[1] for compute in (md.compute_phi, md.compute_psi)]
    for k, (residue, plane) in enumerate(known.planes.items()):
        counts = np.histogram2d(*(angle[:, k] for angle in angles), bins=[known.edges, known.edges])[0]
        told = found["diagnostics"][f"ramachandran_{residue}"]
        assert told["kl_generated"] == pytest.approx(plane.divergence(counts), rel=0.02)
        assert told["kl_floor_of_reference"] == plane.kl_floor
        assert (tmp_path / "run" / "figures" / f"free_energy_torsions_{residue}.png").exists()
    for name, (share, _) in known.populations.items():
        assert found["quantities"][f"population_{name.replace(' ', '_')}"]["truth"] == share
    assert found["quantities"]["rg"]["truth"] == known.averages["rg"][0]


def test_a_reference_for_a_run_with_frames_is_refused_not_ignored() -> None:
    with pytest.raises(ConfigError, match="judges runs without frames"):
        check(load("alanine-dipeptide", changes=["analysis.reference=alanine-dipeptide-obc1-300K"]))


def test_masses_and_engines_change_no_reference() -> None:
    changes = ["system.hydrogen_mass=3.0", "system.engine=openmm", "system.temperature=300"]
    check_reference(load("alanine-dipeptide-embedded", changes=changes))


def test_internal_coordinates_are_features_of_an_experiment(
    small: Callable[..., Experiment], own_files: list[str], tmp_path: Path
) -> None:
    """Around the conformation of the topology file, so that seeds compare."""
    experiment = small(*own_files, "features.name=internal_coordinates")
    check(experiment)
    model = model_of(experiment, frames_of(experiment, tmp_path), tmp_path)
    config = model.config()["features"]
    assert config["type"] == "InternalCoordinates"
    assert config["around"] is not None
