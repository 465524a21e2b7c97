"""Many trajectories of a molecule in one batch: their files, their resumption, their start in equilibrium."""

import json

import numpy as np
import pytest
import torch

from bayescg.data import load
from bayescg.errors import ConfigError, Interrupted, OutputError
from bayescg.experiments import load as load_experiment
from bayescg.experiments.build import frames_of
from bayescg.sampling import batched_dynamics, langevin, parallel_tempering, saved
from bayescg.systems import alanine_dipeptide
from bayescg.systems.molecules import MolecularSystem
from bayescg.systems.peptides import set_ramachandran

SETTINGS = {"chains": 4, "frame_every": 0.02, "equilibration": 0.05, "seed": 3}


class Stopping(MolecularSystem):
    """A molecule whose user loses patience at the n-th call for forces."""

    calls, patience = 0, 10**9

    def forces(self, x):
        self.calls += 1
        if self.calls == self.patience:
            raise KeyboardInterrupt
        return super().forces(x)


def test_what_was_interrupted_goes_on_and_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(saved, "EVERY", 0.0)
    system = alanine_dipeptide()
    assert system.topology is not None
    stopping = Stopping(system.openmm_system, system.topology, system.start, 330.0)
    whole = batched_dynamics(stopping, 0.1, out=tmp_path / "whole", **SETTINGS)
    assert (len(whole), whole.dt, whole.temperature) == (20, pytest.approx(0.02), 330.0)
    assert whole.times is not None
    assert whole.times[:2] == pytest.approx([0.02, 0.04], abs=1e-6)

    stopping.calls, stopping.patience = 0, 600  # 500 relax the starts
    with pytest.raises(Interrupted):
        batched_dynamics(stopping, 0.1, out=tmp_path / "part", **SETTINGS)
    assert not list((tmp_path / "part").glob("*.xtc"))
    stopping.patience = 10**9
    again = batched_dynamics(stopping, 0.1, out=tmp_path / "part", **SETTINGS)
    assert stopping.calls < 600 + 500 + 100  # a new start takes 151
    assert np.array_equal(whole.positions, again.positions)
    assert sorted(p.name for p in (tmp_path / "part").iterdir()) == [
        ".lock",
        "simulation.json", "topology.pdb", *(f"trajectory-00{k}.xtc" for k in range(4)),
    ]  # fmt: skip
    files = sorted((tmp_path / "part").glob("*.xtc"))
    heavy = load(files, top=tmp_path / "part" / "topology.pdb", temperature=330.0, select="not element H")
    assert heavy.positions.shape == (20, 10, 3)
    with pytest.raises(OutputError, match=r"another simulation.*dt"):
        batched_dynamics(system, 0.1, out=tmp_path / "part", dt=0.0005, **SETTINGS)


def test_trajectories_go_on_from_where_tempering_ended(tmp_path):
    system, ladder = alanine_dipeptide(hydrogen_mass=3.0), (330.0, 500.0)
    assert system.topology is not None
    turned = np.stack([set_ramachandran(system.topology, system.start, phi, 45.0) for phi in (-60.0, 55.0)])
    frames = batched_dynamics(
        system, 0.02, out=tmp_path, starts=turned, dt=0.002, frame_every=0.02, equilibration=0.5, temperatures=ladder
    )
    calm = torch.from_numpy(turned).float().flatten(1)
    for _ in range(500):
        calm = calm + (1e-6 * system.forces(calm)).clamp(-1e-3, 1e-3)
    assert (system.energy(calm) < -140.0).all()  # one of the starts has a clash, -96
    tempered = parallel_tempering(system, 10, temperatures=ladder, dt=0.002, leapfrog=25, starts=calm, stride=10)
    expected = np.asarray(langevin(system, 10, dt=0.002, starts=tempered, stride=10).positions)
    assert np.abs(frames.positions - (expected - expected.mean(1, keepdims=True))).max() < 0.00051  # XTC rounds


def test_heavier_hydrogens_leave_the_molecule_its_mass_and_energy():
    light, heavy = alanine_dipeptide(), alanine_dipeptide(hydrogen_mass=3.0)
    masses = [
        np.array([s.openmm_system.getParticleMass(i)._value for i in range(22)])  # type: ignore[attr-defined]
        for s in (light, heavy)
    ]
    assert masses[0].sum() == pytest.approx(masses[1].sum())
    assert np.allclose(np.sort(masses[1])[:12], 3.0)
    x = torch.as_tensor(light.start).flatten()
    assert light.energy(x) == heavy.energy(x)


@pytest.mark.parametrize("wrong", [{"temperatures": (300.0, 400.0)}, {"friction": 0.0}, {"equilibration": -1.0}])
def test_a_refused_call_leaves_nothing(tmp_path, wrong):
    with pytest.raises(ConfigError):
        batched_dynamics(alanine_dipeptide(), 0.1, out=tmp_path / "out", **SETTINGS | wrong)
    assert not (tmp_path / "out").exists()


def test_settings_are_kept_beside_the_trajectories(tmp_path):
    batched_dynamics(alanine_dipeptide(), 0.04, out=tmp_path, temperatures=(330.0, 500.0), **SETTINGS)
    kept = json.loads((tmp_path / "simulation.json").read_text())
    assert (kept["engine"], kept["temperatures"]) == ("batched", [330.0, 500.0])
    assert (kept["dt"], kept["every"], kept["frames"]) == (0.001, 20, 2)


def test_an_experiment_simulates_in_one_batch(tmp_path):
    changes = ["simulation.chains=4", "simulation.temperatures=[330.0,500.0]", "simulation.dt=0.002",
               "simulation.time=0.04", "simulation.frame_every=0.02", "simulation.equilibration=0.1"]  # fmt: skip
    frames = frames_of(load_experiment("alanine-dipeptide", changes=changes), tmp_path)
    assert frames.positions.shape == (4 * 2, 10, 3)
    kept = json.loads((tmp_path / "simulation.json").read_text())
    assert (kept["engine"], kept["chains"], kept["dt"], kept["temperatures"]) == ("batched", 4, 0.002, [330.0, 500.0])
