"""A learned potential inside OpenMM: the same energies and forces, the same dynamics, and from a pickle."""

import pickle
from typing import Any

import numpy as np
import openmm
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ModelError, TopologyError
from bayescg.export.potential_force import PythonPotential
from bayescg.models import NeuralPotential

pytestmark = pytest.mark.skipif(not hasattr(openmm, "PythonForce"), reason="this OpenMM has no PythonForce")
SETTINGS: dict[str, Any] = {"validation": 0.0, "compile": "off", "progress": False}


@pytest.fixture(scope="module")
def molecule():
    return bcg.systems.alanine_dipeptide()


@pytest.fixture(scope="module")
def fit(molecule) -> bcg.Fit:
    x = molecule.start + 0.01 * np.random.default_rng(0).normal(size=(3, 22, 3))
    forces = molecule.forces(torch.as_tensor(x).flatten(1)).numpy().reshape(x.shape)
    frames = bcg.data.Frames.from_numpy(
        x.astype(np.float32), unit="nm", temperature=300.0, forces=forces, topology=molecule.topology
    )
    return bcg.fit(NeuralPotential(width=4, cutoff=0.5), frames, steps=3, **SETTINGS)


def context(force: Any) -> openmm.Context:
    system = openmm.System()
    for _ in range(22):
        system.addParticle(12.0)
    system.addForce(force)
    integrator = openmm.VerletIntegrator(1e-5)
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))


@pytest.mark.parametrize("draw", [None, 2])
def test_openmm_has_the_energies_and_forces_of_the_system(fit, molecule, draw):
    """In double precision: 1e-10 of the largest force."""
    system = fit.system(draw=draw)
    simulation = context(bcg.export.to_openmm(fit if draw is None else system, top=molecule))
    simulation.setPositions(molecule.start)
    state = simulation.getState(energy=True, forces=True)
    exact = PythonPotential(system).system
    x = torch.as_tensor(molecule.start).flatten()
    assert state.getPotentialEnergy()._value == pytest.approx(float(exact.energy(x)), rel=1e-10)
    forces = exact.forces(x).view(22, 3).numpy()
    np.testing.assert_allclose(state.getForces(asNumpy=True)._value, forces, rtol=0, atol=1e-10 * np.abs(forces).max())
    # and those of the fit's own single precision
    np.testing.assert_allclose(system.forces(x).view(22, 3), forces, rtol=0, atol=1e-4 * np.abs(forces).max())


def test_energy_is_conserved(fit, molecule):
    """The force is the gradient of the energy: over 40 steps energy drifts by the square of the step alone."""
    simulation = context(bcg.export.to_openmm(fit))
    simulation.setPositions(molecule.start)
    energies = []
    for _ in range(5):
        state = simulation.getState(energy=True)
        energies.append(state.getPotentialEnergy()._value + state.getKineticEnergy()._value)
        simulation.getIntegrator().step(8)
    assert state.getKineticEnergy()._value > 0.0
    assert np.ptp(energies) < 1e-3 * max(state.getKineticEnergy()._value, 1e-6)


def test_it_comes_back_from_a_pickle(fit, molecule):
    function = PythonPotential(fit.system(draw=1))
    again = pickle.loads(pickle.dumps(function))
    x = torch.as_tensor(molecule.start).flatten()
    assert torch.equal(again.system.energy(x), function.system.energy(x))


def test_refused(fit, molecule):
    with pytest.raises(ModelError, match="one of one draw"):
        bcg.export.to_openmm(fit.system(draws=3))
    with pytest.raises(TopologyError, match="atom 21 does not exist"):
        bcg.export.to_openmm(fit, top=bcg.systems.peptide("ACE-GLY-NME")[0])
    model, frames, _ = NeuralPotential.example()
    reduced = bcg.fit(model, frames, steps=1, uncertainty="none", **SETTINGS)
    with pytest.raises(ModelError, match="in reduced units"):
        bcg.export.to_openmm(reduced)
