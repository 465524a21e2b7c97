"""Steps of molecules in C++: the recorded step and counters of Philox by NumPy are the judges."""

from math import exp, expm1, sqrt
from typing import Any

import numpy as np
import openmm
import pytest
import torch
from openmm import app
from scipy import stats

import bayescg as bcg
from bayescg.errors import CheckpointError
from bayescg.sampling.biased.replicas import biased_forces, biased_kick
from bayescg.sampling.chains import loop
from bayescg.sampling.chains.dynamics import baoab
from bayescg.sampling.chains.fused import FusedLangevin
from bayescg.sampling.chains.hamiltonian import velocity_verlet
from bayescg.sampling.sampled_frames import masses
from bayescg.systems import MolecularSystem, alanine_dipeptide, from_openmm

DT, FRICTION = 0.001, 5.0


def philox(counter, key):
    """Philox 4x32 of ten rounds: words (..., 4) of counters (..., 4)."""
    a, b, c, d = (np.uint64(word) for word in np.moveaxis(np.asarray(counter, np.uint64), -1, 0))
    k, m = (np.uint64(word) for word in key)
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        p, q = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (q >> shift) ^ b ^ k, q & low, (p >> shift) ^ d ^ m, p & low
        k, m = (k + np.uint64(0x9E3779B9)) & low, (m + np.uint64(0xBB67AE85)) & low
    return np.stack([a, b, c, d], -1)


def counted(seed, step, chains, dim):
    """The normal numbers of a step, (chains, dim): pairs of words by Box and Muller."""
    chain, block = np.meshgrid(np.arange(chains), np.arange(-(-dim // 4)), indexing="ij")
    counter = np.stack([chain, np.full_like(chain, step & 0xFFFFFFFF), np.full_like(chain, step >> 32), block], -1)
    words = philox(counter, (seed & 0xFFFFFFFF, seed >> 32)).reshape(chains, -1, 2)
    length = np.sqrt(-2 * np.log(((words[..., 0] >> np.uint64(1)) + 0.5) / 2**31))
    quarters, rest = words[..., 1] >> np.uint64(30), (words[..., 1].astype(np.int64) << 34 >> 34) / 2**30
    angle = np.pi / 2 * (quarters + rest)
    return torch.from_numpy(np.stack([length * np.cos(angle), length * np.sin(angle)], -1).reshape(chains, -1)[:, :dim])


@pytest.fixture(scope="module")
def molecule():
    """Alanine dipeptide in vacuum, and 40 states of it in double precision: more than a tile, and not a multiple."""
    system = alanine_dipeptide(solvent=None, temperature=300.0)
    generator = torch.Generator().manual_seed(1)
    x = torch.tensor(system.start).flatten() + 0.002 * torch.randn(40, 66, generator=generator, dtype=torch.float64)
    mass = masses(system)
    thermal = (system.kT / mass).sqrt()
    v = thermal * torch.randn(40, 66, generator=generator, dtype=torch.float64)
    return system, x, v, system.forces(x), 1 / mass, thermal


def fused(molecule, dtype=torch.float64, seed=3):
    system, x, _, _, inverse_mass, thermal = molecule
    generator = torch.Generator().manual_seed(seed)
    kernels = system.kernels(x.to(dtype))
    assert kernels is not None, system._field.kernels
    return FusedLangevin(kernels, inverse_mass.to(dtype), thermal.to(dtype), DT, FRICTION, generator)


def test_words_are_those_that_philox_is_published_with():
    zeros, ones = philox([0, 0, 0, 0], (0, 0)), philox([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF))
    assert zeros.tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert ones.tolist() == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


@pytest.mark.parametrize("first", [0, 7, 2**32 + 5])
def test_a_step_is_the_recorded_one_with_the_noise_of_its_counters(molecule, first):
    system, x, v, f, inverse_mass, thermal = molecule
    step = fused(molecule)
    noise = counted(step.seed, first, 40, 66)
    expected = baoab(system, inverse_mass, thermal, DT, FRICTION)(x, v, f, noise)
    for value, wanted in zip(step((x, v, f), first), expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-10)
    other = baoab(system, inverse_mass, thermal, DT, FRICTION)(x, v, f, noise.flip(0))
    assert not torch.allclose(step((x, v, f), first)[1], other[1], rtol=1e-3)


def test_without_friction_it_is_velocity_verlet_with_a_time_step_for_each_chain(molecule):
    system, x, v, f, inverse_mass, _ = molecule
    dt = torch.linspace(0.0005, 0.001, 40, dtype=torch.float64)
    *state, energy = system.kernels(x).move(x, v, f, dt, inverse_mass, 20)
    verlet, expected = velocity_verlet(system.forces, inverse_mass), (x, v, f)
    for _ in range(20):
        expected = verlet(*expected, dt[:, None])
    for value, wanted in zip(state, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(energy, system.energy(expected[0]), rtol=1e-10, atol=1e-8)


def test_a_biased_step_is_the_recorded_one(molecule):
    system, x, v, _, inverse_mass, thermal = molecule
    cv = lambda y: (y[:, 0] - y[:, 30]) ** 2 + y[:, 5].sin()  # noqa: E731
    centre, spring = torch.full((40,), 0.3, dtype=torch.float64), torch.linspace(1.0, 200.0, 40, dtype=torch.float64)
    forces = biased_forces(system, cv)
    biased = forces(x, centre, spring)[0]
    step = fused(molecule)
    expected = baoab(system, inverse_mass, thermal, DT, FRICTION, forces)(
        x, v, biased, counted(step.seed, 4, 40, 66), centre, spring
    )
    kick = biased_kick(system, cv, 0.5 * DT * inverse_mass)
    for value, wanted in zip(kick(*step((x, v, biased), 4), centre, spring), expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-9)


def test_numbers_do_not_depend_on_threads_on_other_chains_or_on_how_steps_are_divided(molecule):
    state = [value.float() for value in molecule[1:4]]
    step, threads = fused(molecule, torch.float32), torch.get_num_threads()
    whole = step(state, 0, 12)
    try:
        torch.set_num_threads(3)
        others = step(state, 0, 12)
    finally:
        torch.set_num_threads(threads)
    few = step([value[:7] for value in state], 0, 12)
    parts = step(step(state, 0, 5), 5, 7)
    for value, other, some, part in zip(whole, others, few, parts, strict=True):
        assert torch.equal(value, other)
        assert torch.equal(value[:7], some)
        assert torch.equal(value, part)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_standard_normal_and_independent(molecule, dtype):
    system, x, *_, inverse_mass, _ = molecule
    step, n, steps = fused(molecule, dtype), 500, 40
    x = torch.tensor(system.start).to(dtype).flatten().expand(n, -1)
    rest, kick = torch.zeros_like(x), 0.5 * DT * inverse_mass.to(dtype)
    drawn_by = []
    for number in range(steps):  # from rest, without a force at the beginning: v = spread z + kick f
        _, v, f = step((x, rest, rest), number)
        drawn_by.append(((v - kick * f) / step.spread).double())
    z = torch.stack(drawn_by)  # (steps, chains, coordinates): 1.3 million
    size = z.numel()
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10395 - 225)):
        assert abs(float((z**power).mean()) - mean) < 4 * sqrt(variance / size), power
    assert stats.kstest(z[:5].flatten().numpy(), "norm").pvalue > 1e-3
    for axis in range(3):  # of neighbouring steps, chains and coordinates; sines and cosines of a pair among these
        a, b = z.narrow(axis, 1, z.shape[axis] - 1), z.narrow(axis, 0, z.shape[axis] - 1)
        for power in (1, 2):
            pairs = (a**power - (power - 1)) * (b**power - (power - 1))
            assert abs(float(pairs.mean())) < 4 * float(pairs.std()) / sqrt(pairs.numel()), (axis, power)
    assert len(z.flatten().unique()) > 0.9 * size * (dtype == torch.float64)


def test_spreads_of_springs_are_exact_at_any_time_step():
    """Two atoms on a spring of no length: by BAOAB the spread of their distance has no error from the time step."""
    spring = openmm.HarmonicBondForce()
    spring.addBond(0, 1, 0.0, 5000.0)
    pair = openmm.System()
    for mass in (12.0, 1.0):
        pair.addParticle(mass)
    pair.addForce(spring)
    topology = app.Topology()
    residue = topology.addResidue("PAIR", topology.addChain())
    for name in ("C", "H"):
        topology.addAtom(name, app.Element.getBySymbol(name), residue)
    system = from_openmm(pair, topology, 300.0, np.array([[0.0, 0.0, 0.0], [0.01, 0.0, 0.0]]))
    omega = sqrt(5000.0 / (12.0 / 13.0))
    frames = bcg.sampling.langevin(
        system, 6000, dt=1.2 / omega, friction=omega, chains=400, stride=20, equilibration=200, seed=5
    )
    distance = np.asarray(frames.positions[:, 1] - frames.positions[:, 0], float)
    blocks = (distance**2).reshape(400, -1, 3).mean((1, 2)) * 5000.0 / system.kT
    assert abs(blocks.mean() - 1) < 4 * blocks.std() / sqrt(400)
    assert blocks.std() / sqrt(400) < 0.004


class Stop(Exception):
    """Somebody has lost patience."""


def test_runs_go_on_bit_for_bit_and_not_with_noise_of_another_kind(tmp_path, molecule, monkeypatch):
    system, x, *_ = molecule
    call: dict[str, Any] = {"dt": DT, "starts": x.float(), "stride": 5, "seed": 2}
    whole = bcg.sampling.langevin(system, 60, **call)

    def stopped(self, name, since, step):
        if step == 30:
            raise Stop

    monkeypatch.setattr(loop.Saved, "due", True)
    monkeypatch.setattr(loop.Kernel, "look", stopped)
    with pytest.raises(Stop):
        bcg.sampling.langevin(system, 60, **call, run_dir=tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(MolecularSystem, "kernels", lambda self, x: None)
    with pytest.raises(CheckpointError, match=r"another noise \('counted', now None\)"):
        bcg.sampling.langevin(system, 60, **call, run_dir=tmp_path)
    monkeypatch.undo()
    resumed = bcg.sampling.langevin(system, 60, **call, run_dir=tmp_path)
    assert np.array_equal(whole.positions, resumed.positions)


def test_energies_that_a_subclass_changes_are_respected(molecule):
    system, x, *_ = molecule

    class Tethered(MolecularSystem):
        def forces(self, x):
            return super().forces(x) - 1000.0 * x

    tethered = Tethered(system.openmm_system, system.topology, system.start, 300.0)
    assert tethered.kernels(x) is None
    assert system.kernels(x) is not None
    assert alanine_dipeptide(engine="openmm").kernels(x) is None
    assert bcg.systems.DoubleWell().kernels(x[:, :2]) is None


def test_decay_of_velocities_is_that_of_friction(molecule):
    step = fused(molecule)
    assert step.slowed == exp(-FRICTION * DT)
    np.testing.assert_allclose(step.spread, sqrt(-expm1(-2 * FRICTION * DT)) * molecule[-1])
