"""A fitted potential is a System: the same energies and forces, one draw or many, before and after a file."""

from typing import Any

import mdtraj
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import bayescg as bcg
from bayescg import nets
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.inference import informed_directions
from bayescg.modelling import HasPotential, PotentialModel
from bayescg.topologies import topology_config, topology_from_config

STEPS = {"steps": 300, "learning_rate": 3e-2, "validation": 0.0, "compile": "off"}


class Spring(PotentialModel):
    """Forces of a spring, -k x, with noise of width 1; conjugate in k ~ N(0, 3^2)."""

    def __init__(self, topology=None, dim=None, temperature=None, temperature_kT=None):
        super().__init__()
        self.stiffness = nn.Parameter(torch.ones(1))
        self.begin_potential(topology, dim, temperature, temperature_kT)

    def reset(self):
        nn.init.ones_(self.stiffness)

    def potential(self, x):
        return self.stiffness / 2 * x.flatten(1).square().sum(-1)

    def model(self, batch):
        k = pyro.sample("stiffness", nets.gaussian(3.0)(self.stiffness))
        with batch.plate("frames"):
            x = pyro.sample("x", dist.Normal(self.stiffness.new_zeros(self.dim or 1), 1.0).to_event(1), obs=batch.x)
            f = None if batch.forces is None else batch.forces.flatten(1)
            pyro.sample("f", dist.Normal(-k * x, 1.0).to_event(1), obs=f)

    def guide(self, batch):
        """Nothing is local."""

    def inefficiency(self, frames):
        """The noise has no memory, whatever the frames have."""
        return 1.0

    def information(self, batch):
        """Of the forces, of width 1."""
        weight = 1.0 if batch.weight is None else batch.weight.sqrt()[:, None]
        assert batch.x is not None
        return (-self.stiffness * batch.x * weight).flatten()

    @classmethod
    def example(cls):
        raise NotImplementedError


def pulled(k: float = 2.0, n: int = 400) -> bcg.data.Frames:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2)) / np.sqrt(k)
    forces = -k * x + rng.normal(size=x.shape)
    return bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=1.0, forces=forces)


@pytest.fixture(scope="module")
def fits():
    return {
        choice: bcg.fit(Spring(), pulled(), uncertainty=choice, members=5, **STEPS) for choice in ("bootstrap", "none")
    }


def test_the_system_is_that_of_the_trained_values(fits):
    system = fits["none"].system()
    k = float(fits["none"].model.stiffness.detach())
    x = torch.randn(3, 5, 2, dtype=torch.float64)
    assert (system.dim, system.kT, system.temperature) == (2, 1.0, None)
    assert torch.allclose(system.energy(x), k / 2 * x.square().sum(-1), rtol=1e-6)
    assert torch.allclose(system.forces(x), -k * x, rtol=1e-6)
    assert isinstance(fits["none"].model, HasPotential)
    first = torch.as_tensor(fits["none"].frames.gather([0]).ravel())
    run = bcg.sampling.overdamped(system, 1, dt=1e-12, chains=3, compile="off", progress=False)
    assert torch.allclose(
        torch.as_tensor(run.positions).double().reshape(3, -1), first.double().expand(3, -1), atol=1e-4
    )


@pytest.mark.parametrize("rank", [1, 2])
def test_laplace_of_stated_information_is_the_conjugate_posterior(rank, monkeypatch):
    """Of forces of a slow trajectory, whose frames are worth a few; by the whole matrix and by a sketch of it."""
    monkeypatch.setattr(informed_directions, "_EXACT", 1024 if rank == 1 else 0)
    frames = pulled()
    slow = bcg.data.Frames.from_numpy(
        np.sort(frames.positions, 0), unit="reduced", temperature_kT=1.0, forces=frames.forces, dt=1.0
    )
    fit = bcg.fit(Spring(), slow, uncertainty="laplace", **STEPS)
    exact = (np.square(frames.positions).sum() + 1 / 9) ** -0.5
    # 400 gradients of two rows each, summed up with random signs, have the right sum of squares to 3 per cent
    assert fit.diagnostics["effective_frames"] == 400
    assert fit.parameters(4000)["stiffness"].std() == pytest.approx(exact, rel=0.04 if rank == 1 else 0.06)
    x = torch.randn(5, 3, 2)
    draws = fit.system(draws=5)
    assert torch.allclose(draws.energy(x)[2], fit.system(draw=2).energy(x[2]), rtol=1e-5)
    assert torch.allclose(draws.forces(x), -fit.parameters()["stiffness"][:5, :, None] * x, rtol=1e-4)


def test_data_that_count_more_leave_less_uncertain(monkeypatch):
    """Labels without noise tell directions of a network over many powers of ten, by its gradients as by its matrix."""
    model, frames, _ = bcg.models.NeuralPotential.example()
    widths = []
    for exact in (100_000, 0):
        monkeypatch.setattr(informed_directions, "_EXACT", exact)
        weights = bcg.fit(model, frames, steps=60, validation=0.0, compile="off", progress=False).weights
        lengths = torch.linalg.vector_norm(weights.tensors["basis"], dim=0)
        assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3)
        draws = [weights.tempered(eta).draw(100) for eta in (1.0, 1e2, 1e4)]
        widths.append([float(torch.cat([v.flatten(1) for v in d.values()], 1).var(0).sum()) for d in draws])
    assert widths[1] == sorted(widths[1], reverse=True)
    np.testing.assert_allclose(widths[1], widths[0], rtol=0.02)


def test_truth_and_samplers_take_it(fits):
    system = fits["none"].system()
    k = float(fits["none"].model.stiffness.detach())
    exact = bcg.truth.log_partition(system, box=((-6.0, 6.0),) * 2)
    assert abs(exact.value - np.log(2 * np.pi / k)) < 1e-4
    modes = bcg.truth.spectrum(system, modes=1, box=((-6.0, 6.0),) * 2)
    assert abs(float(modes.eigenvalues[0]) - k) < 1e-3
    for compile in ("off", "trace"):
        frames = bcg.sampling.langevin(system, 2000, dt=0.1, chains=100, stride=20, compile=compile)
        variance = float(frames.positions.var())
        assert abs(variance - 1 / k) < 4 * np.sqrt(2 / 20_000) / k * 2


def test_draws_at_once_are_the_draws_one_by_one(fits):
    fit = fits["bootstrap"]
    x = torch.randn(4, 6, 2)
    together = fit.system(draws=4)
    apart = torch.stack([fit.system(draw=k).energy(x[k]) for k in range(4)])
    assert torch.allclose(together.energy(x), apart)
    assert together.energy(x).std(0).max() > 0
    stiffness = fit.parameters()["stiffness"].flatten()
    assert torch.allclose(together.forces(x), -stiffness[:, None, None] * x)
    with pytest.raises(ConfigError, match="divided among 4 draws"):
        together.energy(x[0, :5])
    run = bcg.sampling.overdamped(together, 20, dt=0.01, chains=8, stride=10, energy=True)
    assert run.energy is not None
    assert np.allclose(run.energy[-1], float(stiffness[3]) / 2 * np.square(run.positions[-1]).sum(), rtol=1e-5)


def test_the_chains_of_a_batch_of_draws_sample_each_draw(fits):
    fit = fits["bootstrap"]
    soft = torch.tensor([[0.2], [1.0], [4.0], [16.0]])
    fit = type(fit)(fit.model, type(fit.weights)("bootstrap", fit.weights.point, {"stiffness": soft}), **record(fit))
    run = bcg.sampling.langevin(fit.system(draws=4), 3000, dt=0.05, chains=400, stride=50, equilibration=1000)
    variance = run.positions.reshape(4, -1).var(1)
    assert np.allclose(variance * soft.numpy().ravel(), 1.0, atol=0.1)


def record(fit):
    return {"settings": fit.settings, "diagnostics": {}, "cost": fit.cost, "log": fit.log}


def test_a_saved_fit_gives_the_same_system(fits, tmp_path):
    fit = fits["bootstrap"]
    fit.save(tmp_path)
    again = bcg.inference.Fit.load(tmp_path, model=Spring(dim=2, temperature_kT=1.0))
    x = torch.randn(4, 3, 2)
    assert torch.equal(again.system().energy(x), fit.system().energy(x))
    assert torch.equal(again.system(draws=4).energy(x), fit.system(draws=4).energy(x))
    assert again.system(draw=2).kT == 1.0


def test_molecules_keep_their_beads(tmp_path):
    topology: Any = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    beads = [topology.add_atom("CA", mdtraj.element.carbon, residue), topology.add_atom("B", None, residue)]
    topology.add_bond(beads[0], beads[1])
    rng = np.random.default_rng(1)
    x = 0.01 * rng.normal(size=(50, 2, 3)) + [[[0.0, 0.0, 0.0], [0.15, 0.0, 0.0]]]
    frames = bcg.data.Frames.from_numpy(
        x, unit="nm", temperature=300.0, forces=rng.normal(size=x.shape), topology=topology
    )
    fit = bcg.fit(Spring(), frames, uncertainty="none", **{**STEPS, "steps": 2})
    fit.save(tmp_path)
    config = topology_config(topology)
    again = bcg.inference.Fit.load(tmp_path, model=Spring(topology_from_config(config), dim=6, temperature=300.0))
    for system in (fit.system(), again.system()):
        assert abs(system.kT - 2.494) < 1e-3
        assert system.positions(torch.zeros(4, 6)).shape == (4, 2, 3)
        run = bcg.sampling.langevin(system, 2, dt=0.001, starts=frames[:2])
        assert run.topology is not None
        assert [(a.name, a.residue.name) for a in run.topology.atoms] == [("CA", "ALA"), ("B", "ALA")]
        assert run.topology.n_bonds == 1
    masses = bcg.sampling.sampled_frames.masses(fit.system())
    assert torch.allclose(masses, torch.tensor([12.011] * 3 + [1.0] * 3, dtype=torch.float64), atol=0.01)


def test_what_there_is_not_is_refused(fits):
    with pytest.raises(ModelError, match="no parameter uncertainty"):
        fits["none"].system(draw=0)
    with pytest.raises(ConfigError, match="there are 4 refits, numbered from 0"):
        fits["bootstrap"].system(draw=4)
    with pytest.raises(ConfigError, match="not both"):
        fits["bootstrap"].system(draw=1, draws=2)
    with pytest.raises(DataError, match="of 3 coordinates, these frames have 2"):
        Spring(dim=3).setup(pulled())
    with pytest.raises(DataError, match="kT = 1, this Spring of 2"):
        Spring(temperature_kT=2.0).setup(pulled())
    with pytest.raises(ConfigError, match="not both"):
        Spring(temperature=300.0, temperature_kT=1.0)
