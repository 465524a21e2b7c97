"""Molecular dynamics: right physics, the same numbers for the same seed, whole files or none, no orphans."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app
from scipy.integrate import quad

from bayescg.errors import ConfigError, DataError, OutputError, SimulationError, TopologyError, UnitError
from bayescg.sampling import molecular_dynamics, ramachandran_starts
from bayescg.stopping import claimed
from bayescg.systems import alanine_dipeptide, from_function, from_openmm
from bayescg.systems.molecules import constrain_hydrogens

SHORT = {"chains": 1, "equilibration": 0.0, "progress": False}


@pytest.fixture(scope="module")
def system():
    return alanine_dipeptide()


@pytest.fixture(scope="module")
def finished(system, tmp_path_factory):
    """Two trajectories of 20 ps."""
    out = tmp_path_factory.mktemp("md")
    frames = molecular_dynamics(system, 20.0, out=out, chains=2, equilibration=2.0, frame_every=0.5, progress=False)
    return out, frames


def diatomics(count, stiffness):
    """Independent diatomic molecules, and their bond length r0."""
    topology, openmm_system = app.Topology(), openmm.System()
    bonds = openmm.HarmonicBondForce()
    positions = []
    chain = topology.addChain()
    for i in range(count):
        residue = topology.addResidue("N2", chain)
        atoms = [topology.addAtom(f"N{j}", app.Element.getBySymbol("N"), residue) for j in (1, 2)]
        topology.addBond(*atoms)
        openmm_system.addParticle(14.0)
        openmm_system.addParticle(14.0)
        bonds.addBond(2 * i, 2 * i + 1, 0.15, stiffness)
        positions += [[i, 0, 0], [i, 0, 0.15]]
    openmm_system.addForce(bonds)
    return from_openmm(openmm_system, topology, 300.0, np.array(positions, float))


def test_files_are_standard_and_agree_with_the_frames(finished):
    out, frames = finished
    assert sorted(file.name for file in out.iterdir()) == [
        ".lock",
        "simulation.json",
        "topology.pdb",
        "trajectory-00.xtc",
        "trajectory-01.xtc",
    ]
    trajectories = [mdtraj.load(str(out / f"trajectory-0{i}.xtc"), top=str(out / "topology.pdb")) for i in (0, 1)]
    for trajectory in trajectories:
        assert trajectory.n_frames == 40
        np.testing.assert_allclose(trajectory.time, 0.5 * np.arange(1, 41), rtol=1e-6)
        assert trajectory.unitcell_lengths is None
        np.testing.assert_allclose(trajectory.xyz.mean(1), 0.0, atol=2e-4)  # a common centroid
    assert len(frames) == 80
    assert frames.temperature == 330.0
    np.testing.assert_array_equal(np.asarray(frames.positions), np.concatenate([t.xyz for t in trajectories]))


def test_chains_differ_and_start_in_different_basins(finished, system):
    out, _ = finished
    assert (out / "trajectory-00.xtc").read_bytes() != (out / "trajectory-01.xtc").read_bytes()
    starts = ramachandran_starts(system, 5)
    trajectory = mdtraj.Trajectory(starts, mdtraj.Topology.from_openmm(system.topology))
    phi = np.degrees(mdtraj.compute_phi(trajectory)[1])[:, 0]
    assert (phi < 0).all()
    assert len({round(float(angle)) for angle in np.degrees(mdtraj.compute_psi(trajectory)[1])[:, -1]}) == 4


def test_chirality_bonds_and_peptide_planes_survive(finished, system):
    out, frames = finished
    x = np.asarray(frames.positions)
    n, ca, cb, c = x[:, 6], x[:, 8], x[:, 10], x[:, 14]
    assert (np.einsum("fi,fi->f", np.cross(n - ca, c - ca), cb - ca) > 0).all()
    constrained = constrain_hydrogens(system.openmm_system, system.topology)
    for i in range(constrained.getNumConstraints()):
        a, b, length = constrained.getConstraintParameters(i)
        np.testing.assert_allclose(np.linalg.norm(x[:, a] - x[:, b], axis=1), length._value, atol=2e-3)  # XTC: 0.001
    omega = mdtraj.compute_omega(mdtraj.load(str(out / "trajectory-00.xtc"), top=str(out / "topology.pdb")))[1]
    assert (np.cos(omega) < -0.5).all()


def test_bond_lengths_are_boltzmann_distributed(tmp_path):
    stiffness = 20_000.0  # kJ/mol/nm^2: bonds of width 0.011 nm, well above the rounding of XTC
    system = diatomics(20, stiffness)
    frames = molecular_dynamics(
        system, 300.0, out=tmp_path, chains=1, equilibration=10.0, friction=5.0, frame_every=2.0, progress=False
    )
    x = np.asarray(frames.positions, float)
    energy = 0.5 * stiffness * (np.linalg.norm(x[:, ::2] - x[:, 1::2], axis=-1) - 0.15) ** 2 / system.kT

    def boltzmann(moment):
        width = np.sqrt(system.kT / stiffness)

        def integrand(u):
            return (0.5 * u**2) ** moment * (0.15 + width * u) ** 2 * np.exp(-0.5 * u**2)

        return quad(integrand, -8, 8)[0]

    exact = boltzmann(1) / boltzmann(0)  # in kT; close to 1/2
    # Each frame averages 20 molecules; frames 2 ps apart at 5/ps are independent.
    standard_error = energy.mean(1).std(ddof=1) / np.sqrt(len(energy))
    assert abs(energy.mean() - exact) < 4 * standard_error
    assert standard_error < 0.02  # a temperature wrong by a fifth would be seen


def test_kinetic_energy_counts_the_constraints(system):
    integrator = openmm.LangevinMiddleIntegrator(330.0, 20.0, 0.002)
    integrator.setRandomNumberSeed(1)
    constrained = constrain_hydrogens(system.openmm_system, system.topology)
    context = openmm.Context(constrained, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(system.start)
    context.setVelocitiesToTemperature(330.0, 1)
    integrator.step(500)
    kinetic = []
    for _ in range(400):
        integrator.step(50)
        kinetic.append(context.getState(energy=True).getKineticEnergy()._value)
    expected = 0.5 * (66 - 12) * system.kT
    assert abs(np.mean(kinetic) - expected) < 4 * np.std(kinetic) / np.sqrt(len(kinetic)) + 0.01 * expected


def test_the_same_seed_gives_the_same_files_and_missing_ones_are_run_again(finished, system, tmp_path):
    out, _ = finished
    settings = {"chains": 2, "equilibration": 2.0, "frame_every": 0.5, "progress": False}
    molecular_dynamics(system, 20.0, out=tmp_path, processes=1, **settings)
    for name in ("trajectory-00.xtc", "trajectory-01.xtc", "simulation.json"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name
    pdb = [(directory / "topology.pdb").read_text().split("\n", 1)[1] for directory in (tmp_path, out)]
    assert pdb[0] == pdb[1]  # but for the date in the first line

    kept = (tmp_path / "trajectory-00.xtc").stat()
    (tmp_path / "trajectory-01.xtc").unlink()
    (tmp_path / ".trajectory-01.partial.xtc").write_bytes(b"left behind by a killed run")
    molecular_dynamics(system, 20.0, out=tmp_path, **settings)
    assert (tmp_path / "trajectory-00.xtc").stat().st_mtime_ns == kept.st_mtime_ns
    assert (tmp_path / "trajectory-01.xtc").read_bytes() == (out / "trajectory-01.xtc").read_bytes()
    assert not list(tmp_path.glob(".*.partial.xtc"))

    with pytest.raises(OutputError, match=r"another simulation \(different: seed\)"):
        molecular_dynamics(system, 20.0, out=tmp_path, seed=1, **settings)
    other = tmp_path / "other"
    molecular_dynamics(system, 20.0, out=other, seed=1, **{**settings, "chains": 1})
    assert (other / "trajectory-00.xtc").read_bytes() != (out / "trajectory-00.xtc").read_bytes()


def test_wall_limit_ends_early_with_a_warning_and_a_whole_file(system, tmp_path):
    with pytest.warns(UserWarning, match=r"wall limit ended trajectories before 1000000 frames: trajectory-00.xtc has"):
        frames = molecular_dynamics(system, 1e6, out=tmp_path, wall_limit=0.5, **SHORT)
    assert 1 <= len(frames) < 1000


def test_an_unstable_simulation_names_trajectory_and_step(tmp_path):
    system = diatomics(2, stiffness=1e9)  # period 1 fs: no time step of 2 fs can follow it
    with pytest.raises(SimulationError, match=r"trajectory-00.xtc: .* near step \d+ \(.* ps\) of the production"):
        molecular_dynamics(system, 10.0, out=tmp_path, **SHORT)
    assert not list(tmp_path.glob("*.xtc"))
    assert not list(tmp_path.glob(".*.partial.xtc"))


def test_a_worker_that_dies_is_reported_with_its_last_words(system, tmp_path, monkeypatch):
    (tmp_path / "openmm.py").write_text("raise ImportError('no OpenMM here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SimulationError, match=r"(?s)trajectory-00.xtc.*no OpenMM here"):
        molecular_dynamics(system, 1.0, out=tmp_path / "out", **SHORT)


SCRIPT = """
    import sys
    from bayescg.errors import BayescgError
    from bayescg.sampling import molecular_dynamics
    from bayescg.systems import alanine_dipeptide
    try:  # no "if __name__ == '__main__'": workers do not import the script
        molecular_dynamics(alanine_dipeptide(), {time}, out=sys.argv[1], chains=2, equilibration=0.0, progress=False)
    except BayescgError as error:
        print(type(error).__name__, error)
"""


def start(tmp_path, duration):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).format(time=duration))
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for child processes in /proc")
@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        signal.SIGKILL,
    ],
)
def test_no_worker_survives_the_one_who_asked(tmp_path, how):
    process = start(tmp_path, 1e6)

    def partial():
        return list((tmp_path / "out").glob(".trajectory-0*.partial.xtc"))

    wait_until(lambda: sum(file.stat().st_size > 0 for file in partial()) == 2)
    workers = children(process.pid)
    assert len(workers) == 2
    process.send_signal(how)
    output, _ = process.communicate(timeout=20)
    wait_until(lambda: not any(Path(f"/proc/{worker}/stat").exists() for worker in workers))
    assert not partial()
    if how == signal.SIGINT:
        assert output.startswith("Interrupted stopped by SIGINT"), output
        assert "Traceback" not in output


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_an_output_error_and_leaves_no_trajectory(system, tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))  # of the workers too
    try:
        with pytest.raises(OutputError, match="trajectory-0"):
            molecular_dynamics(system, 100.0, out=tmp_path / "out", frame_every=0.1, **SHORT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(tmp_path / "out")) == [".lock", "simulation.json", "topology.pdb"]


def test_a_directory_in_use_is_left_alone(finished, system):
    out, _ = finished
    with claimed(out), pytest.raises(OutputError, match=f"in use by process {os.getpid()}"):
        molecular_dynamics(system, 20.0, out=out, chains=2, equilibration=2.0, frame_every=0.5)


def test_directories_that_cannot_be_used(system, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="choose another directory"):
        molecular_dynamics(system, 1.0, out=tmp_path / "file" / "md", **SHORT)
    (tmp_path / "trajectory-00.xtc").write_bytes(b"someone's work")
    with pytest.raises(OutputError, match="unknown origin"):
        molecular_dynamics(system, 1.0, out=tmp_path, **SHORT)
    (tmp_path / "simulation.json").write_text("{not json")
    with pytest.raises(OutputError, match="cannot read"):
        molecular_dynamics(system, 1.0, out=tmp_path, **SHORT)
    assert (tmp_path / "trajectory-00.xtc").read_bytes() == b"someone's work"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time": 0.0}, "shorter than one frame"),
        ({"time": float("nan")}, "time=nan must be a number"),
        ({"dt": 0.0}, "time step"),
        ({"dt": 2.0}, "time step"),  # femtoseconds by mistake
        ({"frame_every": 0.003}, "whole number of steps"),
        ({"frame_every": 0.0}, "whole number of steps"),
        ({"chains": 0}, "chains=0"),
        ({"processes": 0}, "processes=0"),
        ({"seed": -1}, "seed=-1"),
        ({"friction": 0.0}, "friction"),
        ({"equilibration": -1.0}, "equilibration"),
        ({"wall_limit": 0.0}, "wall_limit"),
    ],
)
def test_numbers_out_of_range_are_refused(system, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        molecular_dynamics(system, **{"time": 10.0, "out": tmp_path / "md", **options})
    assert not (tmp_path / "md").exists()


def test_systems_and_starts_that_do_not_fit_are_refused(system, tmp_path):
    toy = from_function(lambda x: x.sum(-1), dim=2)
    with pytest.raises(ConfigError, match="needs a molecular system"):
        molecular_dynamics(toy, 10.0, out=tmp_path)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TopologyError, match=r"\(2, 21, 3\)"):
        molecular_dynamics(system, 10.0, out=tmp_path, starts=np.zeros((2, 21, 3)))
    with pytest.raises(UnitError, match="starts: bonded atoms are"):
        molecular_dynamics(system, 10.0, out=tmp_path, starts=10 * system.start[None])
    nowhere = from_openmm(system.openmm_system, system.topology, 300.0)
    with pytest.raises(DataError, match="no positions"):
        molecular_dynamics(nowhere, 10.0, out=tmp_path)


def test_the_settings_are_on_record(finished):
    out, _ = finished
    settings = json.loads((out / "simulation.json").read_text())
    assert settings["temperature"] == 330.0
    assert settings["dt"] * settings["every"] == pytest.approx(0.5)
    assert settings["platform"] == "Reference"
