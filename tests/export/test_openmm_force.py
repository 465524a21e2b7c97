"""CVs inside OpenMM: exact, copied, written, nested, biased; and refused where they cannot be."""

import copy
import subprocess
import sys

import numpy as np
import openmm
import pytest
import torch
from openmm import app

import bayescg as bcg
from bayescg.errors import ConfigError, ModelError, TopologyError
from bayescg.models import Autoencoder, GeneratorEigenfunctions, PredictiveCV

ENERGY, FORCE = 1e-12, 1e-11
"""In units of the CV, and of the largest slope; measured 1e-15 and 1e-14."""


def context_of(*forces, masses=22):
    system = openmm.System()
    for _ in range(masses):
        system.addParticle(12.0)
    for force in forces:
        system.addForce(force)
    return openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def by_openmm(context, x):
    values, slopes = [], []
    for positions in x:
        context.setPositions(positions)
        state = context.getState(getEnergy=True, getForces=True)
        values.append(state.getPotentialEnergy()._value)
        slopes.append(-state.getForces(asNumpy=True)._value)
    return np.array(values), np.array(slopes)


def assert_equal(ours, theirs):
    values, slopes = theirs
    np.testing.assert_allclose(ours[0], values, rtol=0, atol=ENERGY * max(1, np.abs(values).max()))
    np.testing.assert_allclose(ours[1], slopes, rtol=0, atol=FORCE * max(1, np.abs(slopes).max()))


@pytest.mark.parametrize("output", ["z1", "z2", "sd2"])
def test_native_is_exact(gaussian, molecule, conformations, by_torch, output):
    force = bcg.export.to_openmm(gaussian, output, top=molecule)
    assert isinstance(force, openmm.CustomCVForce)
    assert_equal(by_openmm(context_of(force), conformations), by_torch(gaussian, conformations, output))


def test_distances_and_contacts_are_exact(lengths, conformations, by_torch):
    force = bcg.export.to_openmm(lengths)
    assert isinstance(force, openmm.CustomCVForce)
    assert_equal(by_openmm(context_of(force), conformations), by_torch(lengths, conformations))


@pytest.mark.parametrize("activation", ["silu", "softplus", "selu", "tanh"])
def test_every_activation_is_exact(activation, frames, molecule, conformations, by_torch):
    model = Autoencoder(bcg.features.torsions(molecule), latent_dim=1, hidden=(4,))
    model.encoder.net[1] = bcg.nets.ACTIVATIONS[activation]()
    with torch.no_grad():
        model.encoder.net[0].weight.mul_(30)  # type: ignore[union-attr] # far from zero, too: where softplus is a line and exp overflows
    fit = bcg.fit(model, frames, steps=1, uncertainty="none", progress=False)
    assert_equal(by_openmm(context_of(bcg.export.to_openmm(fit)), conformations), by_torch(fit, conformations))


def test_more_features_than_variables_enter_the_first_layer_summed(frames, molecule, conformations, by_torch):
    features = bcg.features.chain(bcg.features.torsions(molecule), bcg.features.distances(molecule))
    assert features.size == 49
    fit = bcg.fit(Autoencoder(features, 1, hidden=(5, 4)), frames, steps=2, uncertainty="none", progress=False)
    force = bcg.export.to_openmm(fit)
    assert force.getNumCollectiveVariables() == 5
    assert_equal(by_openmm(context_of(force), conformations[::4]), by_torch(fit, conformations[::4]))


def test_eigenfunctions_are_exact(molecule, conformations, by_torch):
    many = bcg.data.Frames.from_numpy(np.tile(conformations, (6, 1, 1)), unit="nm", temperature=300.0)
    model = GeneratorEigenfunctions(1, bcg.features.torsions(molecule), diffusion=1.0, hidden=(5, 3))
    fit = bcg.fit(model, many, steps=2, uncertainty="none", progress=False)
    assert_equal(by_openmm(context_of(bcg.export.to_openmm(fit)), conformations), by_torch(fit, conformations))


def test_a_linear_cv_is_one_sum(frames, molecule, conformations, by_torch):
    fit = bcg.fit(Autoencoder(bcg.features.distances(molecule), 1, hidden=()), frames, steps=2, uncertainty="none")
    force = bcg.export.to_openmm(fit)
    assert force.getNumCollectiveVariables() == 1
    assert_equal(by_openmm(context_of(force), conformations[::4]), by_torch(fit, conformations[::4]))


def test_atoms_may_have_other_numbers(gaussian, conformations, by_torch):
    numbers = [64 - 3 * i for i in range(22)]
    x = np.random.default_rng(0).normal(size=(len(conformations), 70, 3))
    x[:, numbers] = conformations
    for native in (None, False):
        force = bcg.export.to_openmm(gaussian, atoms=numbers, native=native)
        values, slopes = by_openmm(context_of(force, masses=70), x[:8])
        assert_equal((values, slopes[:, numbers]), by_torch(gaussian, conformations[:8]))
        assert np.abs(np.delete(slopes, numbers, axis=1)).max() == 0


def test_distances_in_a_box_are_those_to_the_nearest_image(frames, molecule):
    box = np.diag([2.0, 2.1, 2.2])
    features = bcg.features.distances(molecule, pairs=[(1, 18), (5, 16)], box=box)
    fit = bcg.fit(Autoencoder(features, 1, hidden=(3,)), frames, steps=2, uncertainty="none", progress=False)
    force = bcg.export.to_openmm(fit)
    assert force.usesPeriodicBoundaryConditions()
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*box)
    for _ in range(22):
        system.addParticle(12.0)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    x = frames.positions[:1].astype(float).copy()
    before, _ = by_openmm(context, x)
    x[0, 5] += 3 * box[2]
    after, _ = by_openmm(context, x)
    assert abs(before - after) < 1e-12
    assert abs(before - float(fit.cv(x).mean)) < 1e-5


class TestPython:
    @pytest.mark.parametrize("output", ["z1", "sd2"])
    def test_refits_are_averaged_exactly(self, refitted, conformations, by_torch, output):
        force = bcg.export.to_openmm(refitted, output)
        assert isinstance(force, openmm.PythonForce)
        assert_equal(by_openmm(context_of(force), conformations[:16]), by_torch(refitted, conformations[:16], output))

    def test_the_trained_values_alone_are_native(self, refitted, conformations, by_torch):
        force = bcg.export.to_openmm(refitted, refits=False)
        assert isinstance(force, openmm.CustomCVForce)
        exact = by_torch(refitted, conformations, refits=False)
        assert_equal(by_openmm(context_of(force), conformations), exact)

    def test_any_features_will_do(self, frames, molecule, conformations, by_torch):
        fit = bcg.fit(PredictiveCV(bcg.features.aligned(molecule), 1), frames, steps=2, uncertainty="none")
        force = bcg.export.to_openmm(fit)
        assert_equal(by_openmm(context_of(force), conformations[:8]), by_torch(fit, conformations[:8]))

    def test_it_is_copied_written_and_nested(self, refitted, conformations, by_torch):
        force = bcg.export.to_openmm(refitted)
        exact, slopes = by_torch(refitted, conformations[:4])
        text = openmm.XmlSerializer.serialize(force)
        for again in (copy.deepcopy(force), openmm.XmlSerializer.deserialize(text)):
            assert_equal(by_openmm(context_of(again), conformations[:4]), (exact, slopes))
        bias = openmm.CustomCVForce("0.5*k*(z-0.3)^2")
        bias.addGlobalParameter("k", 20.0)
        bias.addCollectiveVariable("z", force)
        biased = 10 * (exact - 0.3) ** 2, 20 * (exact - 0.3)[:, None, None] * slopes
        assert_equal(by_openmm(context_of(bias), conformations[:4]), biased)

    def test_an_openmm_that_is_too_old_is_named(self, refitted, monkeypatch):
        monkeypatch.delattr(openmm, "PythonForce")
        with pytest.raises(ConfigError, match=r"8\.6 on; this is OpenMM"):
            bcg.export.to_openmm(refitted)


@pytest.mark.parametrize("native", [True, False])
def test_metadynamics_runs_along_it(native, gaussian, molecule, conformations, tmp_path):
    system, variable = openmm.System(), bcg.export.to_openmm(gaussian, native=native)
    for _ in range(22):
        system.addParticle(12.0)
    variable = app.BiasVariable(variable, -3, 3, 0.3, False)
    sampling = app.Metadynamics(system, [variable], 300, 10, 1.0, 2, saveFrequency=4, biasDir=str(tmp_path))
    integrator = openmm.LangevinMiddleIntegrator(300, 1.0, 0.0001)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(app.Topology(), system, integrator, platform)
    simulation.context.setPositions(conformations[0])
    sampling.step(simulation, 8)
    (value,) = sampling.getCollectiveVariables(simulation)
    now = simulation.context.getState(getPositions=True).getPositions(asNumpy=True)._value
    assert abs(value - float(gaussian.cv(now[None]).mean[0, 0])) < 1e-4
    assert sampling.getFreeEnergy()._value.min() < 0
    assert list(tmp_path.iterdir())


def test_a_process_without_bayescg_reads_the_native_xml(gaussian, conformations, by_torch, tmp_path):
    (tmp_path / "cv.xml").write_text(openmm.XmlSerializer.serialize(bcg.export.to_openmm(gaussian)))
    np.save(tmp_path / "x.npy", conformations[0])
    code = """
import sys, numpy, openmm
sys.modules["bayescg"] = sys.modules["torch"] = None
system = openmm.System()
for _ in range(22):
    system.addParticle(12.0)
system.addForce(openmm.XmlSerializer.deserialize(open("cv.xml").read()))
context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
context.setPositions(numpy.load("x.npy"))
print(repr(context.getState(getEnergy=True).getPotentialEnergy()._value))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert abs(float(done.stdout) - by_torch(gaussian, conformations[:1])[0][0]) < ENERGY


class TestRefused:
    def test_outputs_that_are_not_there(self, gaussian, lengths):
        with pytest.raises(ConfigError, match="no output 'z3'; there are z1, z2, sd1, sd2"):
            bcg.export.to_openmm(gaussian, "z3")
        with pytest.raises(ConfigError, match="no output 'sd1'; there are z1"):
            bcg.export.to_openmm(lengths, "sd1")

    def test_what_is_no_fit(self, molecule):
        with pytest.raises(ConfigError, match="not a MolecularSystem"):
            bcg.export.to_openmm(molecule)

    def test_flat_coordinates(self, toy_frames):
        fit = bcg.fit(PredictiveCV(latent_dim=1, hidden=(3,)), toy_frames(), steps=1, uncertainty="none")
        with pytest.raises(ModelError, match="flat coordinates, which no engine knows"):
            bcg.export.to_openmm(fit)

    def test_native_of_what_is_not(self, refitted, frames, molecule):
        with pytest.raises(ModelError, match=r"3 refits have no native expression.*refits=False"):
            bcg.export.to_openmm(refitted, native=True)
        fit = bcg.fit(PredictiveCV(bcg.features.aligned(molecule), 1, (3,)), frames, steps=1, uncertainty="none")
        with pytest.raises(ModelError, match="Aligned features are no functions of torsion angles"):
            bcg.export.to_openmm(fit, native=True)

    def test_other_atoms(self, gaussian):
        other, _ = bcg.systems.peptide("ACE-GLY-ALA-NME")
        with pytest.raises(TopologyError, match=r"atom N 7 of residue ALA of the fit would be N 7 of residue GLY"):
            bcg.export.to_openmm(gaussian, top=other)
        small, _ = bcg.systems.peptide("ACE-GLY-NME")
        with pytest.raises(TopologyError, match="atom 21 does not exist in this topology of 19"):
            bcg.export.to_openmm(gaussian, top=small)
        for atoms in (range(21), [0] * 22):
            with pytest.raises(ConfigError, match="each of the 22 atoms of the fit once"):
                bcg.export.to_openmm(gaussian, atoms=atoms)

    def test_a_network_that_is_not_the_cv(self, gaussian, monkeypatch):
        """The negative control of the check: one that forgets to standardise."""
        monkeypatch.setattr(type(gaussian.model), "network", lambda self: [self.encoder])
        with pytest.raises(ModelError, match=r"PredictiveCV\.network\(\) is not what its cv\(\) does: z"):
            bcg.export.to_openmm(gaussian)


@pytest.mark.slow  # OpenMM takes some 8 s to differentiate it
def test_the_largest_native_network_is_exact(frames, torsions, conformations, by_torch):
    """Two layers of 24 over eight features; measured: a Context in 7 s, 1e-16 in the value, 1e-14 in the forces."""
    fit = bcg.fit(Autoencoder(torsions, 1, hidden=(24, 24)), frames, steps=3, uncertainty="none", progress=False)
    force = bcg.export.to_openmm(fit)
    assert isinstance(force, openmm.CustomCVForce)
    assert_equal(by_openmm(context_of(force), conformations), by_torch(fit, conformations))
    wider = bcg.fit(Autoencoder(torsions, 1, hidden=(25, 24)), frames, steps=1, uncertainty="none", progress=False)
    assert isinstance(bcg.export.to_openmm(wider), openmm.PythonForce)


def test_opes_runs_along_it(gaussian, conformations):
    """By the package openmm-opes, where it is installed."""
    opes = pytest.importorskip("openmm_opes", reason="the package openmm-opes is not installed")
    system = openmm.System()
    for _ in range(22):
        system.addParticle(12.0)
    variable = app.BiasVariable(bcg.export.to_openmm(gaussian), -3, 3, 0.3, False)
    sampling = opes.OPES(system, [variable], 300, 20, 2, 2)
    integrator = openmm.LangevinMiddleIntegrator(300, 1.0, 0.0001)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(app.Topology(), system, integrator, platform)
    simulation.context.setPositions(conformations[0])
    sampling.step(simulation, 8)
    (value,) = sampling.getCollectiveVariables(simulation)
    now = simulation.context.getState(getPositions=True).getPositions(asNumpy=True)._value
    assert abs(value - float(gaussian.cv(now[None]).mean[0, 0])) < 1e-4
