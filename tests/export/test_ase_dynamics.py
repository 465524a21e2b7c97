"""Steps of a learned map inside ASE, beside ASE's own velocity Verlet."""

import warnings
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import DataError, ModelError, SimulationError
from bayescg.models import ActionMap

ase = pytest.importorskip("ase")

from ase import units  # noqa: E402
from ase.calculators.calculator import Calculator  # noqa: E402
from ase.io import Trajectory  # noqa: E402
from ase.md.verlet import VelocityVerlet  # noqa: E402

TRAP = bcg.systems.from_function(lambda x: 0.5 * x.square().sum(-1) + 0.1 * x[:, 0] ** 2 * x[:, 1], dim=3)


class Trap(Calculator):
    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, *arguments):
        super().calculate(*arguments)
        atoms: Any = self.atoms
        x = torch.from_numpy(atoms.get_positions())
        self.results = {"energy": float(TRAP.energy(x.flatten())), "forces": TRAP.forces(x).numpy()}


@pytest.fixture(scope="module")
def fit():
    starts = torch.randn(2, 150, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = bcg.sampling.short_trajectories(TRAP, tuple(starts), lag=0.5, accuracy=1e-9)
    return bcg.fit(ActionMap(TRAP, waves=300), pairs)


def atom():
    atoms = ase.Atoms("H", positions=[[0.8, -0.3, 0.2]], masses=[1.0])
    atoms.set_momenta([[0.1, 0.5, -0.4]])
    return atoms


def test_it_goes_where_velocity_verlet_goes_with_a_hundred_steps_each(fit, tmp_path):
    mine, theirs = atom(), atom()
    theirs.calc = Trap()
    dynamics = bcg.export.to_ase(fit, mine, logfile=None, trajectory=str(tmp_path / "path.traj"))
    VelocityVerlet(theirs, 0.005).run(1000)
    dynamics.run(10)
    assert dynamics.get_time() == pytest.approx(5.0)
    np.testing.assert_allclose(mine.get_positions(), theirs.get_positions(), atol=1e-4)
    np.testing.assert_allclose(mine.get_momenta(), theirs.get_momenta(), atol=1e-4)
    dynamics.close()
    with Trajectory(str(tmp_path / "path.traj")) as written:
        assert len(written) == 11


def test_a_draw_is_the_draws_map(fit):
    atoms = atom()
    q, p = (torch.from_numpy(x) for x in (atoms.get_positions(), atoms.get_momenta()))
    bcg.export.to_ase(fit, atoms, draw=2, seed=1).run(1)
    np.testing.assert_allclose(atoms.get_positions(), fit.map(draw=2, seed=1).step(q, p).q, atol=1e-12)


def test_nanometres_and_picoseconds_are_those_of_ase():
    """Free argon: in a step of 0.01 ps an atom goes as far as its velocity says."""
    rng = np.random.default_rng(0)
    topology = mdtraj.Topology()
    residue = topology.add_residue("AR", topology.add_chain())
    for _ in range(2):
        topology.add_atom("Ar", mdtraj.element.argon, residue)
    x = rng.normal(size=(30, 2, 3))
    p = rng.normal(size=(30, 2, 3)) * 10
    both = np.stack([x, x + 0.01 * p / 39.948], 1).reshape(-1, 2, 3)
    frames = Frames.from_numpy(
        both, unit="nm", dt=0.01, temperature=300.0, topology=topology, masses=[39.948] * 2,
        momenta=np.repeat(p, 2, axis=0), trajectory=np.repeat(np.arange(30), 2),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rounding, which it takes for noise
        free = bcg.fit(ActionMap(waves=20), frames.lagged(0.01))
    atoms = ase.Atoms("Ar2", positions=10 * x[0], masses=[39.948] * 2)
    atoms.set_velocities(10 * p[0] / 39.948 / (1000 * units.fs))
    dynamics = bcg.export.to_ase(free, atoms)
    assert dynamics.dt == pytest.approx(10 * units.fs)
    dynamics.run(1)
    np.testing.assert_allclose(atoms.get_positions(), 10 * both[1], atol=1e-5)


def test_other_atoms_are_refused(fit):
    with pytest.raises(ModelError, match="no fitted map"):
        bcg.export.to_ase(TRAP, atom())
    with pytest.raises(DataError, match="3 coordinates, and 2 atoms have 6"):
        bcg.export.to_ase(fit, ase.Atoms("H2"))
    heavy = atom()
    heavy.set_masses([2.0])
    with pytest.raises(DataError, match="atom 0 has mass 2"):
        bcg.export.to_ase(fit, heavy)
    still = atom()
    with pytest.raises(SimulationError, match="step 1 is not solved"):
        bcg.export.to_ase(fit, still, tolerance=1e-30).run(1)
    np.testing.assert_array_equal(still.get_positions(), atom().get_positions())
