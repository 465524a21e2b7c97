"""Molecular systems with either engine: OpenMM's energy, true gradients, and clear refusals."""

import copy
import gc
from functools import partial

import numpy as np
import openmm
import pytest
import torch
from openmm import app
from torch.fx.experimental.proxy_tensor import make_fx

from bayescg.errors import ConfigError, ModelError, TopologyError
from bayescg.systems import alanine_dipeptide, capped_peptide, from_openmm, peptide
from bayescg.systems.forcefield.operator import _FIELDS
from bayescg.systems.molecules import constrain_hydrogens


@pytest.fixture(scope="module", params=["torch", "openmm"])
def system(request):
    return alanine_dipeptide(engine=request.param)


@pytest.fixture
def frames(system):
    noise = np.random.default_rng(0).normal(scale=0.005, size=(4, 22, 3))
    return torch.tensor((system.start + noise).reshape(4, 66))


def test_energy_is_that_of_openmm_built_by_hand(system, frames):
    topology, _ = peptide("ACE-ALA-NME")
    by_hand = app.ForceField("amber96.xml", "amber96_obc.xml").createSystem(topology)
    context = openmm.Context(by_hand, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    for x, energy, force in zip(frames, system.energy(frames), system.forces(frames), strict=True):
        context.setPositions(x.reshape(22, 3).numpy())
        state = context.getState(energy=True, forces=True)
        assert float(energy) == pytest.approx(state.getPotentialEnergy()._value, abs=1e-6)
        np.testing.assert_allclose(force.reshape(22, 3), state.getForces(asNumpy=True)._value, atol=1e-6)


def test_capped_peptides_of_any_sequence_have_the_energy_of_openmm():
    x = torch.tensor(alanine_dipeptide("amber96", "obc1").start).flatten()
    by_name, by_sequence = (
        make("amber96", "obc1", 300.0) for make in (alanine_dipeptide, partial(capped_peptide, "ACE-ALA-NME"))
    )
    assert torch.equal(by_name.energy(x), by_sequence.energy(x))
    batched, reference = (capped_peptide("ACE-ALA-GLY-SER-NME", solvent="obc1", engine=e) for e in ("torch", "openmm"))
    x = torch.tensor(batched.start + np.random.default_rng(0).normal(scale=0.005, size=batched.start.shape)).flatten()
    assert float(batched.energy(x)) == pytest.approx(float(reference.energy(x)), abs=1e-3)
    with pytest.raises(ConfigError, match="unknown residue 'XYZ'"):
        capped_peptide("ACE-XYZ-NME")


def test_forces_are_the_gradient_by_finite_differences(system, frames):
    x = frames[:1]
    step = 1e-5
    shifted = x + step * torch.cat([torch.eye(66), -torch.eye(66)]).to(x)
    energies = system.energy(shifted)
    numerical = -(energies[:66] - energies[66:]) / (2 * step)
    torch.testing.assert_close(system.forces(x)[0], numerical, rtol=1e-5, atol=1e-2)


def test_autograd_gives_the_forces_in_every_shape_and_precision(system, frames):
    x = frames.reshape(2, 2, 66).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(system.log_prob(x).sum(), x)
    torch.testing.assert_close(gradient, system.forces(x) / system.kT)
    single = frames.float()
    assert system.energy(single).dtype == torch.float32
    torch.testing.assert_close(system.energy(single).double(), system.energy(frames), rtol=1e-5, atol=1e-2)


def test_energy_survives_tracing(system, frames):
    def gradient(x):
        return torch.autograd.grad(system.log_prob(x).sum(), x)[0]

    graph = make_fx(gradient)(frames.clone().requires_grad_())
    other = (frames + 0.002).requires_grad_()
    torch.testing.assert_close(graph(other), gradient(other), rtol=0, atol=0)


def test_second_derivatives_of_openmm_are_refused_not_zero():
    system = alanine_dipeptide(engine="openmm")
    x = torch.tensor(system.start).reshape(1, 66).requires_grad_()
    (gradient,) = torch.autograd.grad(system.energy(x).sum(), x, create_graph=True)
    with pytest.raises(ModelError, match="derivatives"):
        torch.autograd.grad(gradient.sum(), x)


def test_a_frame_that_is_not_finite_has_no_energy_and_spares_the_others(system, frames):
    broken = frames.clone()
    broken[1, 5] = float("nan")
    broken[2, 0] = float("inf")
    assert torch.isnan(system.energy(broken)).tolist() == [False, True, True, False]
    torch.testing.assert_close(system.energy(broken)[::3], system.energy(frames)[::3])


@pytest.mark.parametrize("force_field", ["amber96", "amber99sbildn"])
def test_obc2_is_the_fast_force_with_the_right_parameters(force_field):
    system = alanine_dipeptide(force_field, "obc2")
    gb = [force for force in system.openmm_system.getForces() if isinstance(force, openmm.GBSAOBCForce)]
    assert len(gb) == 1
    assert not any(isinstance(f, openmm.CustomGBForce) for f in system.openmm_system.getForces())
    nonbonded = next(f for f in system.openmm_system.getForces() if isinstance(f, openmm.NonbondedForce))
    for atom in range(22):  # the charges of the solvent model are those of the force field
        assert gb[0].getParticleParameters(atom)[0] == nonbonded.getParticleParameters(atom)[0]


def test_solvents_and_force_fields_differ():
    x = torch.tensor(alanine_dipeptide().start).flatten()
    choices = [("amber96", "obc2"), ("amber96", "obc1"), ("amber96", None), ("amber14", "obc2"), ("amber14", "gbn2")]
    energies = [float(alanine_dipeptide(*choice).energy(x)) for choice in choices]
    assert len({round(energy, 3) for energy in energies}) == len(choices)
    assert energies[2] > max(energies[:2]) + 20.0  # water lowers the energy of a dipeptide


def test_constraints_hold_the_bonds_to_hydrogen_only(system):
    constrained = constrain_hydrogens(system.openmm_system, system.topology)
    assert system.openmm_system.getNumConstraints() == 0
    elements = [atom.element.symbol for atom in system.topology.atoms()]
    pairs = [constrained.getConstraintParameters(i) for i in range(constrained.getNumConstraints())]
    assert len(pairs) == 12
    assert all("H" in (elements[a], elements[b]) for a, b, _ in pairs)


def test_copies_share_the_engine_and_engines_are_freed():
    system = alanine_dipeptide(engine="openmm")
    count = len(_FIELDS)
    assert copy.deepcopy({"target": system})["target"] is system
    del system
    gc.collect()
    assert len(_FIELDS) == count - 1


def test_unknown_names_are_refused_with_what_is_known():
    with pytest.raises(ConfigError, match=r"unknown force field 'ff96'; use one of amber96, .*amber14"):
        alanine_dipeptide("ff96")
    with pytest.raises(ConfigError, match="unknown solvent 'tip3p'; use one of obc1, obc2, gbn2 or None"):
        alanine_dipeptide("amber96", "tip3p")
    with pytest.raises(ConfigError, match="positive"):
        alanine_dipeptide(temperature=-5.0)
    with pytest.raises(ConfigError, match="unknown engine 'gromacs'; use one of torch, openmm"):
        alanine_dipeptide(engine="gromacs")


def test_from_openmm_refuses_what_does_not_fit():
    topology, positions = peptide("ACE-GLY-NME")
    other, _ = peptide("ACE-ALA-NME")
    force_field = app.ForceField("amber96.xml")
    flexible = force_field.createSystem(topology)
    with pytest.raises(TopologyError, match="22 atoms and the OpenMM System 19"):
        from_openmm(flexible, other, 300.0)
    with pytest.raises(TopologyError, match="positions"):
        from_openmm(flexible, topology, 300.0, np.zeros((22, 3)))
    with pytest.raises(TopologyError, match="finite"):
        from_openmm(flexible, topology, 300.0, np.full((19, 3), np.nan))
    with pytest.raises(ConfigError, match="10 constraints"):
        from_openmm(force_field.createSystem(topology, constraints=app.HBonds), topology, 300.0, positions)
    with pytest.raises(ConfigError, match="flatten"):
        from_openmm(flexible, topology, 300.0, positions).energy(torch.zeros(2, 19, 3))
