"""Hamiltonian Monte Carlo: a reversible, volume-preserving, second-order trajectory, and draws without bias."""

import numpy as np
import pytest
import torch

from bayescg import systems, truth
from bayescg.errors import ConfigError
from bayescg.sampling import equilibrium, hmc, langevin
from bayescg.sampling.chains import hamiltonian
from bayescg.sampling.chains.hamiltonian import JITTER, trajectory, velocity_verlet
from bayescg.systems import DoubleWell, Harmonic, ThreeWellRing


def flow(system, dt, leapfrog, x, v):
    """Positions, velocities and energy gained of a trajectory in double precision."""
    verlet = velocity_verlet(system.forces, torch.ones(system.dim, dtype=torch.float64))
    f = system.forces(x)
    for _ in range(leapfrog):
        x, v, f = verlet(x, v, f, torch.full((len(x), 1), dt, dtype=torch.float64))
    return x, v


def total_energy(system, x, v):
    return system.energy(x) + 0.5 * (v**2).sum(-1)


@pytest.fixture
def phase():
    generator = torch.Generator().manual_seed(0)
    x = torch.from_numpy(equilibrium(DoubleWell(), 50).positions).double()
    return x, torch.randn(x.shape, generator=generator, dtype=torch.float64)


def test_trajectories_are_reversible_to_rounding(phase):
    x, v = phase
    ahead = flow(DoubleWell(), 0.1, 30, x, v)
    back = flow(DoubleWell(), 0.1, 30, ahead[0], -ahead[1])
    assert (ahead[0] - x).abs().max() > 1.0
    assert (back[0] - x).abs().max() < 1e-11
    assert (back[1] + v).abs().max() < 1e-11


def test_trajectories_preserve_volume():
    system = ThreeWellRing()

    def move(z):
        # without System.forces, which is detached from derivatives
        f = lambda x: -torch.func.grad(lambda y: system.energy(y).sum())(x)  # noqa: E731
        verlet = velocity_verlet(f, torch.ones(2, dtype=torch.float64))
        x, v = z[None, :2], z[None, 2:]
        force = f(x)
        for _ in range(10):
            x, v, force = verlet(x, v, force, torch.full((1, 1), 0.15, dtype=torch.float64))
        return torch.cat([x[0], v[0]])

    jacobian = torch.func.jacrev(move)(torch.tensor([0.9, 0.3, 0.5, -1.0], dtype=torch.float64))
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1.0, abs=1e-11)


def test_energy_is_kept_to_second_order(phase):
    system, (x, v) = DoubleWell(), phase
    before = total_energy(system, x, v)
    errors = [
        float((total_energy(system, *flow(system, dt, round(0.64 / dt), x, v)) - before).square().mean().sqrt())
        for dt in (0.04, 0.02, 0.01)
    ]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.02)


def test_the_kinetic_part_of_a_trajectory(phase):
    system, (x, v) = DoubleWell(), phase
    thermal = torch.tensor([0.5, 2.0], dtype=torch.float64)
    verlet = velocity_verlet(system.forces, thermal**2)
    dt = torch.full((len(x), 1), 0.02, dtype=torch.float64)
    new, _, heat = trajectory(verlet, x, system.forces(x), dt, thermal, 20, v)
    # kT = 1: what is kinetic came from the potential
    assert (heat + system.energy(new) - system.energy(x)).abs().max() < 0.05
    assert heat.abs().max() > 1.0


def acceptance_of_a_spring(dt, leapfrog, nodes=400):
    """Exact mean of min(1, exp(-dH)) for a spring of frequency 1, over time steps within the jitter of dt."""
    grid = np.linspace(-6, 6, nodes)
    x, v = np.meshgrid(grid, grid)
    weight = np.exp(-0.5 * (x**2 + v**2))
    weight /= weight.sum()
    s, w = np.polynomial.legendre.leggauss(15)
    total = 0.0
    for h, share in zip(dt * (1 + JITTER * s), w / 2, strict=True):
        y, u = x.copy(), v.copy()
        for _ in range(leapfrog):
            u -= 0.5 * h * y
            y += h * u
            u -= 0.5 * h * y
        total += share * (weight * np.minimum(1.0, np.exp(0.5 * (x**2 + v**2 - y**2 - u**2)))).sum()
    return total


@pytest.mark.parametrize(("dt", "leapfrog"), [(0.5, 3), (1.2, 3), (1.7, 2)])
def test_acceptance_is_exact(dt, leapfrog):
    frames = hmc(Harmonic((1.0,)), 25, dt=dt, leapfrog=leapfrog, chains=20_000, seed=1)
    exact = acceptance_of_a_spring(dt, leapfrog)
    assert frames.provenance["acceptance"] == pytest.approx(exact, abs=4 * 0.5 / np.sqrt(25 * 20_000) + 2e-4)
    assert exact < 0.99


def z_scores(system, dt, seed=0):
    """Deviations of moments from the truth in standard errors, for chains that begin in equilibrium."""
    chains = 4000
    frames = hmc(system, 30, dt=dt, leapfrog=5, chains=chains, seed=seed)
    exact = {
        "x1": float(truth.expectation(system, lambda x: x[:, 0])),
        "left": 0.991654,
        "x2²": 1.0,
        "U": float(truth.expectation(system, system.energy)),
    }
    x = frames.positions
    values = {"x1": x[:, 0], "left": x[:, 0] < 0.16745, "x2²": x[:, 1] ** 2, "U": frames.energy}
    means = {k: v.reshape(chains, -1).mean(1, dtype=np.float64) for k, v in values.items()}
    return {k: float((m.mean() - exact[k]) / (m.std() / np.sqrt(chains))) for k, m in means.items()}


def test_moments_are_exact_at_a_coarse_time_step():
    assert max(map(abs, z_scores(DoubleWell(), dt=0.35).values())) < 4


def test_without_rejections_the_time_step_would_show(monkeypatch):
    monkeypatch.setattr(hamiltonian, "accepted", lambda log_ratio, generator: torch.isfinite(log_ratio))
    assert max(map(abs, z_scores(DoubleWell(), dt=0.35).values())) > 8


def test_energies_and_forces_are_those_of_the_frames():
    system = DoubleWell()
    frames = hmc(system, 12, dt=0.4, chains=50, stride=3, equilibration=2, forces=True)
    x = torch.as_tensor(frames.positions)
    assert frames.energy is not None
    assert frames.order is not None
    assert np.allclose(frames.energy, system.energy(x).numpy(), atol=1e-5)
    assert np.allclose(frames.forces, system.forces(x).numpy(), atol=1e-4)
    assert frames.dt is None
    assert frames.order[:5].tolist() == [0, 1, 2, 3, 0]


def test_masses_of_atoms_do_not_change_what_is_drawn():
    system = systems.alanine_dipeptide(solvent=None)
    starts = langevin(system, 200, dt=0.0005, chains=16, stride=200).positions
    frames = hmc(system, 5, dt=0.0007, leapfrog=10, starts=starts)
    assert 0.8 < frames.provenance["acceptance"] < 1
    assert frames.topology is not None
    assert frames.topology.n_atoms == 22
    moved = frames.positions.reshape(16, 5, 22, 3)[:, -1] - starts.reshape(16, 22, 3)
    spread = (moved.astype(np.float64) ** 2).mean((0, 2))
    elements = np.array([atom.element.symbol for atom in frames.topology.atoms])
    assert spread[elements == "H"].mean() > 2 * spread[elements != "H"].mean()  # light atoms move further


class Counted(systems.System):
    """A spring that counts the configurations it is asked for."""

    def __init__(self):
        super().__init__(lambda x: 0.5 * (x**2).sum(-1), 2, temperature_kT=1.0)
        self.count = {"energy_evaluations": 0, "force_evaluations": 0}

    def energy(self, x):
        self.count["energy_evaluations"] += len(x)
        return super().energy(x)

    def forces(self, x):
        self.count["force_evaluations"] += len(x)
        return -x


def test_every_evaluation_is_counted():
    system = Counted()
    cost = hmc(system, 6, dt=0.1, leapfrog=4, chains=5, equilibration=3, forces=True, compile="off").provenance["cost"]
    assert {k: cost[k] for k in system.count} == system.count


def test_a_time_step_that_is_never_accepted_is_told():
    with pytest.warns(UserWarning, match="of the proposals were accepted"):
        frames = hmc(DoubleWell(), 5, dt=5.0, chains=20)
    assert np.isfinite(frames.positions).all()
    with pytest.raises(ConfigError, match="leapfrog=0"):
        hmc(DoubleWell(), 5, dt=0.1, leapfrog=0)
