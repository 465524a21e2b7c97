"""The batched force field: OpenMM's energies and forces to rounding, derivatives of both, and clear refusals."""

import dataclasses
import functools
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch
from openmm import app
from torch.func import grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from bayescg.errors import ConfigError
from bayescg.kernels import library
from bayescg.systems import from_openmm, peptide
from bayescg.systems.forcefield import ForceField, native
from bayescg.systems.forcefield.energies.energy import Energy
from bayescg.systems.peptides import set_ramachandran

NM = openmm.unit.nanometer  # pyright: ignore[reportAttributeAccessIssue]
FF14 = "amber14/protein.ff14SB.xml"
CUTOFF = {"nonbondedMethod": app.CutoffNonPeriodic, "nonbondedCutoff": 0.6 * NM}
SWITCHED = CUTOFF | {"switchDistance": 0.4 * NM}
SALT = {"implicitSolventKappa": 1.0 / NM}

# name: files of the force field, sequence, arguments of createSystem
ASKED = {
    "ff96": (["amber96.xml"], "ACE-ALA-NME", {}),
    "ff96-obc1": (["amber96.xml", "implicit/obc1.xml"], "ACE-ALA-NME", {}),
    "ff96-obc2": (["amber96.xml", "amber96_obc.xml"], "ACE-ALA-NME", {}),
    "ff14SB-obc2": ([FF14, "implicit/obc2.xml"], "ACE-ALA-NME", {}),
    "ff14SB-gbn2": ([FF14, "implicit/gbn2.xml"], "ACE-ALA-NME", {}),
    "charmm36": (["charmm36_2024.xml"], "ACE-ALA-NME", {}),
    "pentapeptide": ([FF14, "implicit/gbn2.xml"], "ACE-ALA-ALA-ALA-ALA-ALA-NME", {}),
}
BESIDES = {
    "hct": ([FF14, "implicit/hct.xml"], "ACE-ALA-NME", {}),
    "gbn": ([FF14, "implicit/gbn.xml"], "ACE-ALA-NME", {}),
    "salt": ([FF14, "implicit/gbn2.xml"], "ACE-ALA-NME", SALT),
    "cutoff": ([FF14], "ACE-ALA-NME", CUTOFF),
    "switched": (["amber96.xml"], "ACE-ALA-NME", SWITCHED),
    "obc2-cutoff": (["amber96.xml", "amber96_obc.xml"], "ACE-ALA-NME", CUTOFF),
    "gbn2-cutoff-salt": ([FF14, "implicit/gbn2.xml"], "ACE-ALA-NME", CUTOFF | SALT),
    "charmm36-switched": (["charmm36_2024.xml"], "ACE-ALA-NME", SWITCHED),
    "sulphur": ([FF14, "implicit/gbn2.xml"], "ACE-CYS-NME", {}),
    "rings": ([FF14, "implicit/obc1.xml"], "ACE-PRO-TRP-HIS-CYS-NME", {}),
}
SYSTEMS = ASKED | BESIDES


def charmm_names(topology):
    """The topology that CHARMM's force field knows: caps are part of the residues beside them."""
    first = {"CH3": "CAY", "HH31": "HY1", "HH32": "HY2", "HH33": "HY3", "C": "CY", "O": "OY"}
    last = {"N": "NT", "H": "HNT", "CH3": "CAT", "HH31": "HT1", "HH32": "HT2", "HH33": "HT3"}
    result, new = app.Topology(), {}
    chain = result.addChain()
    middle = [r for r in topology.residues() if r.name not in ("ACE", "NME")]
    homes = {r: result.addResidue(r.name, chain) for r in middle}
    for atom in topology.atoms():
        name = {"ACE": first, "NME": last}.get(atom.residue.name, {"H": "HN"}).get(atom.name, atom.name)
        home = {"ACE": middle[0], "NME": middle[-1]}.get(atom.residue.name, atom.residue)
        new[atom] = result.addAtom(name, atom.element, homes[home])
    for a, b in topology.bonds():
        result.addBond(new[a], new[b])
    return result


@functools.cache
def build(name):
    files, sequence, arguments = SYSTEMS[name]
    topology, _ = peptide(sequence)
    topology = charmm_names(topology) if "charmm" in name else topology
    return parsed(tuple(files)).createSystem(topology, **arguments)


@functools.cache
def parsed(files):
    return app.ForceField(*(of_alanine(file) if "charmm" in file else file for file in files))


def of_alanine(name):
    """What a file of CHARMM's says of capped alanine: all of it takes OpenMM four seconds to read."""
    text = (Path(app.__file__).parent / "data" / name).read_text("utf-8")
    text = re.sub(r'<AllowPatch name="(?!ACE_1|CT3_1)[^>]*>|<Type [^>]*name="(?!ALA-|ACE-|CT3-)[^>]*>', "", text)
    wanted = {"Residues": ['<Residue name="ALA">'], "Patches": ['<Patch name="ACE_1">', '<Patch name="CT3_1">']}
    for room, beginnings in wanted.items():
        head, body, tail = re.split(f"</?{room}>", text)
        entries = [re.findall(rf"{start}.*?</(?:Residue|Patch)>", body, re.DOTALL)[0] for start in beginnings]
        text = f"{head}<{room}>{''.join(entries)}</{room}>{tail}"
    return io.StringIO(text)


@functools.cache
def hot_frames(sequence, count):
    """Frames of molecular dynamics at 1000 K, in vacuum because that is quick: bonds bent, atoms close."""
    topology, positions = peptide(sequence)
    integrator = openmm.LangevinMiddleIntegrator(1000.0, 5.0, 0.0005)
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(topology, app.ForceField(FF14).createSystem(topology), integrator, reference())
    simulation.context.setPositions(positions)
    simulation.context.setVelocitiesToTemperature(1000.0, 1)
    frames = []
    for _ in range(count):
        integrator.step(20)
        frames.append(simulation.context.getState(positions=True).getPositions(asNumpy=True)._value)
    return np.array(frames)


def reference():
    return openmm.Platform.getPlatformByName("Reference")


@pytest.fixture(params=["native", "torch"])
def kernels(request, monkeypatch):
    """Compiled kernels, or those in torch that stand in for them."""
    if request.param == "torch":
        monkeypatch.setattr("bayescg.systems.forcefield.field.kernels", lambda: "switched off")
    elif isinstance(native.kernels(), str):
        pytest.skip(str(native.kernels()))
    return request.param


def by_openmm(system, frames):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference())
    energies, forces = [], []
    for x in frames:
        context.setPositions(x)
        state = context.getState(energy=True, forces=True)
        energies.append(state.getPotentialEnergy()._value)
        forces.append(state.getForces(asNumpy=True)._value)
    return np.array(energies), np.array(forces)


@functools.cache
def expected(name, count):
    return by_openmm(build(name), hot_frames(SYSTEMS[name][1], count))


def by_autograd(energy, frames):
    """Energies and forces."""
    x = torch.tensor(np.asarray(frames), requires_grad=True)
    values = energy(x)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    return values.detach().numpy(), -gradient.numpy()


def differences(one, other):
    return tuple(np.abs(a - b).max() for a, b in zip(one, other, strict=True))


def disagreement(system, frames):
    """Largest difference from OpenMM of energies and forces."""
    return differences(by_autograd(ForceField(system).energy, frames), by_openmm(system, frames))


@pytest.mark.parametrize("name", ASKED)
def test_energies_and_forces_are_those_of_openmm(name, kernels):
    frames = hot_frames(SYSTEMS[name][1], 200)
    energy, force = differences(by_autograd(ForceField(build(name)).energy, frames), expected(name, 200))
    assert energy <= 1e-9  # kJ/mol; rounding of energies of some 100 kJ/mol
    assert force <= 1e-8  # kJ/mol/nm


@pytest.mark.parametrize("name", BESIDES)
def test_other_solvents_and_cutoffs_are_those_of_openmm(name, kernels):
    frames = hot_frames(SYSTEMS[name][1], 40)
    energy, force = differences(by_autograd(ForceField(build(name)).energy, frames), expected(name, 40))
    assert energy <= 1e-9
    assert force <= 1e-8


@pytest.mark.parametrize("name", ["ff14SB-gbn2", "charmm36"])
def test_the_comparison_sees_every_table(name):
    frames, truth = hot_frames("ACE-ALA-NME", 40), expected(name, 40)
    tables = ForceField(build(name)).tables
    present = {f.name for f in dataclasses.fields(tables) if f.name != "atoms" and getattr(tables, f.name)}
    assert len(present) >= 5
    assert tables.torsions is not None
    flat = dataclasses.replace(tables.torsions, cos=0 * tables.torsions.cos)
    for left_out in present:
        without = {"torsions": flat, "pairs": ()}.get(left_out)
        missing = Energy(dataclasses.replace(tables, **{left_out: without}))
        assert differences(by_autograd(missing, frames), truth)[0] > 0.1


def test_maps_agree_over_the_whole_plane(kernels):
    system, (topology, positions) = build("charmm36"), peptide("ACE-ALA-NME")
    angles = np.random.default_rng(0).uniform(-180.0, 180.0, (60, 2))
    angles[:20] = angles[:20] / 12.0  # across the seam of the map
    angles[20:24] = [(0.0, 0.0), (-15.0, 30.0), (179.999999, -179.999999), (-1e-9, 1e-9)]  # on its lines
    frames = [set_ramachandran(topology, np.array(positions._value), *pair) for pair in angles]
    energy, force = disagreement(only(system, openmm.CMAPTorsionForce), frames)
    assert energy <= 1e-10
    assert force <= 1e-6  # at a line of the map the curvature jumps, and rounding decides on which side a frame is


def only(system, kind):
    """The system with the forces of one kind."""
    result = openmm.System()
    for i in range(system.getNumParticles()):
        result.addParticle(system.getParticleMass(i))
    for force in system.getForces():
        if isinstance(force, kind):
            result.addForce(openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force)))
    return result


def atoms(count, *forces):
    system = openmm.System()
    for _ in range(count):
        system.addParticle(12.0)
    for force in forces:
        system.addForce(force)
    return system


def random_frames(count, size, seed=0):
    return np.random.default_rng(seed).normal(scale=size, size=(30, count, 3))


def test_torsions_of_every_form_over_the_same_atoms_add_up(kernels):
    periodic, bellemans = openmm.PeriodicTorsionForce(), openmm.RBTorsionForce()
    for order in (1, 2, 3, 4, 6):
        periodic.addTorsion(0, 1, 2, 3, order, 0.3 + order, 2.0 + order)
    periodic.addTorsion(3, 2, 1, 0, 3, -1.0, 1.5)
    periodic.addTorsion(4, 2, 1, 0, 2, 1.0, 1.5)
    bellemans.addTorsion(3, 2, 1, 0, 1.0, -2.0, 3.0, -4.0, 5.0, -6.0)
    improper = openmm.CustomTorsionForce(f"k*min(dtheta, 2*pi - dtheta)^2; dtheta = abs(theta - theta0); pi = {np.pi}")
    improper.addPerTorsionParameter("k")
    improper.addPerTorsionParameter("theta0")
    improper.addTorsion(0, 3, 1, 4, (20.0, 3.0))
    system = atoms(5, periodic, bellemans, improper)
    torsions = ForceField(system).tables.torsions
    assert torsions is not None
    assert len(torsions.atoms) == 3
    energy, force = disagreement(system, random_frames(5, 0.2))
    assert energy <= 1e-10
    assert force <= 1e-7


@pytest.mark.parametrize("kind", ["own", "custom"])
def test_an_atom_inside_another_is_descreened_as_openmm_does(kind, kernels):
    from openmm.app.internal.customgbforces import GBSAOBC1Force

    particles = [[0.5, 0.3, 0.9], [-0.3, 0.1, 0.9], [0.2, 0.12, 0.9]]
    if kind == "own":
        force = openmm.GBSAOBCForce()
        for particle in particles:
            force.addParticle(*particle)
    else:
        force = GBSAOBC1Force(SA="ACE")
        force.addParticles(particles)
        force.finalize()
    frames = random_frames(3, 0.06)
    distances = np.linalg.norm(frames[:, 0] - frames[:, 1], axis=-1)
    assert (distances < 0.9 * 0.291 - 0.091).sum() > 5  # swallowed
    energy, largest = disagreement(atoms(3, force), frames)
    assert energy <= 1e-8
    assert largest <= 1e-6


def test_exceptions_replace_the_interaction_of_their_pair(kernels):
    force = openmm.NonbondedForce()
    for charge in (0.5, -0.5, 0.3, 0.0):
        force.addParticle(charge, 0.3, 0.4)
    force.addException(0, 1, 0.0, 0.3, 0.0)
    force.addException(2, 0, 0.07, 0.2, 0.5)
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffNonPeriodic)
    force.setCutoffDistance(0.35)
    force.setReactionFieldDielectric(20.0)
    system = atoms(4, force)
    plain, near = ForceField(system).tables.pairs[::-1]
    assert np.isinf(plain.reach.cutoff)
    assert plain.atoms.tolist() == [[0, 2]]
    assert near.atoms.tolist() == [[0, 3], [1, 2], [1, 3], [2, 3]]
    energy, largest = disagreement(system, random_frames(4, 0.2))
    assert energy <= 1e-6  # up to 1e9 kJ/mol in clashes
    assert largest <= 1e-2


def find(system, kind):
    return next(force for force in system.getForces() if isinstance(force, kind))


def with_offset(system):
    force = find(system, openmm.NonbondedForce)
    force.addGlobalParameter("scale", 1.0)
    force.addParticleParameterOffset("scale", 0, 1.0, 0.0, 0.0)


def with_virtual_site(system):
    system.addParticle(0.0)
    system.setVirtualSite(22, openmm.TwoParticleAverageSite(0, 1, 0.5, 0.5))


def edited_energy(term, text, other):
    def change(system):
        force = find(system, openmm.CustomGBForce)
        expression, kind = force.getEnergyTermParameters(term)
        force.setEnergyTermParameters(term, expression.replace(text, other), kind)

    return change


def edited_radius(text, other):
    def change(system):
        force = find(system, openmm.CustomGBForce)
        name, expression, kind = force.getComputedValueParameters(1)
        force.setComputedValueParameters(1, name, expression.replace(text, other), kind)

    return change


REFUSED = [
    (lambda s: s.addForce(openmm.CustomExternalForce("x^2")), r"force 6, CustomExternalForce .* known forms"),
    (lambda s: s.addForce(openmm.CustomBondForce("r^4")), r"CustomBondForce.*'r\^4'"),
    (lambda s: s.addForce(openmm.CustomTorsionForce("theta^2")), r"CustomTorsionForce.*'theta\^2'"),
    (lambda s: s.addForce(openmm.CustomNonbondedForce("1/r")), r"CustomNonbondedForce.*'1/r'"),
    (lambda s: s.addForce(openmm.GBSAOBCForce()), r"GBSAOBCForce.*another generalised-Born"),
    (lambda s: s.addForce(openmm.MonteCarloBarostat(1.0, 300.0)), "MonteCarloBarostat"),
    (
        lambda s: find(s, openmm.HarmonicBondForce).setUsesPeriodicBoundaryConditions(True),
        r"HarmonicBondForce.*periodic",
    ),
    (
        lambda s: find(s, openmm.NonbondedForce).setNonbondedMethod(openmm.NonbondedForce.PME),
        r"NonbondedForce.*periodic",
    ),
    (with_offset, r"force \d, NonbondedForce.*offsets"),
    (with_virtual_site, "particle 22 is a virtual site"),
    (edited_energy(0, "charge^2", "charge^4"), r"CustomGBForce.*energy term '-0.5.*charge\^4"),
    (edited_energy(2, "B1*B2*exp", "B1*B1*exp"), r"CustomGBForce.*energy term .*B1\*B1"),
    (edited_energy(2, "Dielectric=78.5", "Dielectric=60"), r"CustomGBForce.*other constants"),
    (edited_radius("psi^3", "psi^4"), r"CustomGBForce.*computed value B = .*psi\^4"),
    (edited_radius("tanh", "sin"), r"CustomGBForce.*computed value B = .*sin"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=range(len(REFUSED)))
def test_nothing_is_left_out_in_silence(change, message):
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(build("ff96-obc1")))
    change(system)
    with pytest.raises(ConfigError, match=message):
        ForceField(system)


def test_a_force_that_is_refused_still_runs_with_openmm_as_the_engine():
    topology, positions = peptide("ACE-ALA-NME")
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(build("ff96")))
    spring = openmm.CustomExternalForce("100*(x^2+y^2+z^2)")
    spring.addParticle(0)
    system.addForce(spring)
    with pytest.raises(ConfigError, match=r"CustomExternalForce.*engine='openmm'"):
        from_openmm(system, topology, 300.0, positions)
    slow = from_openmm(system, topology, 300.0, positions, engine="openmm")
    quick = from_openmm(build("ff96"), topology, 300.0, positions)
    x = torch.tensor(hot_frames("ACE-ALA-NME", 40)[:3])
    expected = quick.energy(x.flatten(-2)) + 100.0 * x[:, 0].square().sum(-1)
    torch.testing.assert_close(slow.energy(x.flatten(-2)), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,), (1, 1, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_leading_shape_gives_frame_by_frame_values(shape, dtype, kernels):
    field = ForceField(build("ff14SB-gbn2"))
    frames = torch.tensor(hot_frames("ACE-ALA-NME", 40)[: int(np.prod(shape))], dtype=dtype)
    x = frames.reshape(*shape, 22, 3)
    energy, forces = field.energy(x), field.forces(x)
    assert energy.shape == shape
    assert energy.dtype == forces.dtype == dtype
    for i, frame in enumerate(frames):
        torch.testing.assert_close(energy.flatten()[i], field.energy(frame), rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(forces.reshape(-1, 22, 3)[i], field.forces(frame), rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("name", ["ff96-obc1", "charmm36"])
def test_single_precision_is_good_to_its_rounding(name, kernels):
    field, x = ForceField(build(name)), torch.tensor(hot_frames("ACE-ALA-NME", 200))
    assert (field.energy(x.float()) - field.energy(x)).abs().max() < 5e-3  # kJ/mol
    assert (field.forces(x.float()) - field.forces(x)).abs().max() < 0.3  # kJ/mol/nm, of forces up to 1e4


def test_wrong_shapes_and_types_are_refused():
    field = ForceField(build("ff96"))
    with pytest.raises(ConfigError, match=r"\(\.\.\., 22, 3\), got \(4, 66\)"):
        field.energy(torch.zeros(4, 66))
    with pytest.raises(ConfigError, match=r"precision, got torch.int64"):
        field.forces(torch.zeros(22, 3, dtype=torch.int64))


def test_a_frame_that_is_not_finite_is_nan_alone(kernels):
    field, x = ForceField(build("charmm36")), torch.tensor(hot_frames("ACE-ALA-NME", 40)[:5])
    x[1, 3, 0], x[3, 21, 2] = float("nan"), float("inf")
    assert field.energy(x).isnan().tolist() == [False, True, False, True, False]
    assert torch.isfinite(field.forces(x)[::2]).all()
    torch.testing.assert_close(field.energy(x)[::2], field.energy(x[::2]))


@pytest.mark.parametrize("distance", [0.0, 1e-3, 2e-2])
def test_atoms_on_top_of_each_other_have_a_finite_energy(distance, kernels):
    field = ForceField(build("ff96-obc1"))
    x = distance * torch.randn(20, 22, 3, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(field.energy(x)).all()
    assert torch.isfinite(field.forces(x)).all()
    assert (field.energy(x) > 1e6).all()


@pytest.mark.parametrize("name", ["ff14SB-gbn2", "charmm36-switched", "sulphur"])
def test_forces_can_be_differentiated(name, kernels):
    x = torch.tensor(hot_frames(SYSTEMS[name][1], 40)[:2])
    field = ForceField(build(name))
    probe = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(field.energy(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((gradient * probe).sum(), x)
    step = 1e-5
    difference = field.forces(x - step * probe) - field.forces(x + step * probe)
    torch.testing.assert_close(second, difference / (2.0 * step), rtol=1e-5, atol=1.0)  # of up to 1e6 kJ/mol/nm^2


def test_torch_can_transform_and_trace_it(kernels):
    field, x = ForceField(build("ff96-obc2")), torch.tensor(hot_frames("ACE-ALA-NME", 40)[:6])
    per_pair = vmap(grad_and_value(lambda y: field.energy(y).sum()))  # over three stacks of two frames
    graph = make_fx(per_pair)(x.unflatten(0, (3, 2)) + 0.001)
    for run in (per_pair, graph):
        gradient, value = run(x.unflatten(0, (3, 2)))
        torch.testing.assert_close(value, field.energy(x).unflatten(0, (3, 2)).sum(1))
        torch.testing.assert_close(gradient.flatten(0, 1), -field.forces(x))


def test_momentum_is_conserved(kernels):
    for name in ("pentapeptide", "charmm36"):
        x = torch.tensor(hot_frames(SYSTEMS[name][1], 40)[:5])
        forces = ForceField(build(name)).forces(x)
        assert forces.sum(-2).abs().max() < 1e-9
        assert torch.linalg.cross(x, forces).sum(-2).abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernels", ["native"], indirect=True)
def test_what_a_frame_gets_depends_on_nothing_else(dtype, kernels):
    field, x = ForceField(build("ff14SB-gbn2")), torch.tensor(hot_frames("ACE-ALA-NME", 200), dtype=dtype)
    energy, forces = field.energy(x), field.forces(x)
    assert torch.equal(field.energy(x[77]), energy[77])
    assert torch.equal(field.forces(x.flip(0)[:33]), forces.flip(0)[:33])
    torch.set_num_threads(3)
    try:
        assert torch.equal(field.energy(x), energy)
        assert torch.equal(field.forces(x), forces)
    finally:
        torch.set_num_threads(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, which pymbar imports where it is installed
@pytest.mark.parametrize("kernels", ["native"], indirect=True)
def test_threads_serve_several_callers_and_forked_processes(kernels):
    field, x = ForceField(build("ff14SB-gbn2")), torch.tensor(hot_frames("ACE-ALA-NME", 200))
    energy = field.energy(x)
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(4) as callers:
            assert all(torch.equal(found, energy) for found in callers.map(field.energy, [x] * 40))
        process = os.fork()  # none of the threads that wait for work is in the new process
        if process == 0:
            os._exit(not torch.equal(field.energy(x), energy))
        assert os.waitpid(process, 0)[1] == 0
    finally:
        torch.set_num_threads(1)


def test_without_a_compiler_torch_stands_in_and_says_so(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(native, "library", functools.cache(library.__wrapped__))
    field, x = ForceField(build("ff96")), torch.tensor(hot_frames("ACE-ALA-NME", 40)[:2])
    assert "no-such-compiler" in field.kernels
    assert "torch operations" in caplog.text
    np.testing.assert_allclose(field.energy(x), expected("ff96", 40)[0][:2], atol=1e-9)
    assert list(tmp_path.iterdir()) == []
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho bad vibrations >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    assert "could not compile force_field.cpp: bad vibrations" in str(library.__wrapped__("force_field", "far slower"))
