"""Langevin and overdamped dynamics: exact stationary laws, orders of convergence, correlations in time, masses."""

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from scipy.special import roots_hermitenorm, roots_legendre

from bayescg import systems, truth
from bayescg.errors import ConfigError, SimulationError, UnitError
from bayescg.sampling import equilibrium, langevin, overdamped
from bayescg.sampling.chains.dynamics import baoab, euler_maruyama
from bayescg.systems import Harmonic, from_function

ONE = torch.ones(1, dtype=torch.float64)
WELL = from_function(lambda x: 0.25 * x[:, 0] ** 4 + 0.5 * x[:, 0], dim=1)


def affine(step, system, velocities):
    """Matrix A and vector b of a linear step, (x, v) to A (x, v) + b times the noise."""
    columns = 3 if velocities else 2
    points = torch.cat([torch.zeros(1, columns), torch.eye(columns)]).double()
    x, noise = points[:, :1], points[:, -1:]
    f = system.forces(x)
    new = step(x, points[:, 1:2], f, noise)[:2] if velocities else step(x, f, noise)[:1]
    moved = torch.cat(list(new), 1)
    matrix = (moved[1:] - moved[0]).T.numpy()
    return matrix[:, :-1], matrix[:, -1:]


def stationary(step, system, velocities):
    """Covariance that a linear step leaves as it is."""
    a, b = affine(step, system, velocities)
    return solve_discrete_lyapunov(a, b @ b.T)


def galerkin(step, system, velocities, degree=14):
    """Stationary mean of x² of a step's Markov operator, on polynomials orthonormal under the Boltzmann density.

    The step itself is called, at nodes of Gaussian quadrature of position, velocity and noise: there is no sampling
    error, so that differences of 1e-5 mean something.
    """
    s, w = roots_legendre(90)
    nodes = 5.0 * s
    weight = w * torch.exp(system.log_prob(torch.from_numpy(nodes)[:, None])).numpy()
    weight /= weight.sum()

    def legendre(x):
        return np.polynomial.legendre.legvander(np.ravel(x) / 5.0, degree)

    _, r = np.linalg.qr(np.sqrt(weight)[:, None] * legendre(nodes))

    def basis(x, v):
        """Products of orthonormal polynomials, (n, degree + 1, velocities' share)."""
        in_x = np.linalg.solve(r.T, legendre(x).T).T
        if not velocities:
            return in_x
        norms = np.sqrt(np.cumprod(np.r_[1.0, np.arange(1.0, 9.0)]))
        in_v = np.polynomial.hermite_e.hermevander(np.ravel(v), 8) / norms
        return (in_x[:, :, None] * in_v[:, None, :]).reshape(len(in_x), -1)

    noise, noise_weight = roots_hermitenorm(16)
    speeds, speed_weight = roots_hermitenorm(18) if velocities else (np.zeros(1), np.ones(1))
    noise_weight, speed_weight = noise_weight / noise_weight.sum(), speed_weight / speed_weight.sum()
    x, v, xi = (torch.from_numpy(a.reshape(-1, 1).copy()) for a in np.meshgrid(nodes, speeds, noise, indexing="ij"))
    f = system.forces(x)
    new = step(x, v, f, xi)[:2] if velocities else (step(x, f, xi)[0], v)
    later = basis(new[0].numpy(), new[1].numpy()).reshape(len(nodes) * len(speeds), len(noise), -1)
    later = np.einsum("psk,s->pk", later, noise_weight)
    now_x, now_v = (a.ravel() for a in np.meshgrid(nodes, speeds, indexing="ij"))
    now = basis(now_x, now_v)
    mass = np.outer(weight, speed_weight).ravel()
    operator = later.T @ (mass[:, None] * now)  # row k: the operator on basis function k, in the basis
    lead = np.linalg.lstsq(
        np.vstack([operator - np.eye(len(operator)), np.eye(len(operator))[:1]]), np.eye(len(operator) + 1)[-1],
        rcond=None,
    )[0]  # fmt: skip
    return float((mass * now_x**2) @ now @ lead / ((mass @ now) @ lead))


@pytest.mark.parametrize("dt", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("friction", [0.1, 1.0, 20.0])
def test_baoab_leaves_positions_of_a_spring_exact(dt, friction):
    system = Harmonic((2.0,), temperature_kT=1.5)
    step = baoab(system, ONE, 1.5**0.5 * ONE, dt, friction)
    covariance = stationary(step, system, velocities=True)
    assert covariance[0, 0] == pytest.approx(0.75, rel=1e-10)
    assert covariance[0, 1] == pytest.approx(0.0, abs=1e-10)
    assert covariance[1, 1] == pytest.approx(1.5 * (1 - 2.0 * dt**2 / 4), rel=1e-10)  # what BAOAB pays with


@pytest.mark.parametrize("dt", [0.01, 0.1, 0.5])
def test_euler_maruyama_of_a_spring_is_biased_as_it_must(dt):
    system = Harmonic((2.0,), temperature_kT=1.5)
    step = euler_maruyama(system, 0.3 * ONE, dt)
    exact = 0.75 / (1 - 0.3 * 2.0 * dt / (2 * 1.5))
    assert stationary(step, system, velocities=False)[0, 0] == pytest.approx(exact, rel=1e-12)


def hot(system, dt, friction):
    """BAOAB with the noise of Euler and Maruyama, correct to first order only: the negative control."""
    wrong = (2 * friction * dt / -np.expm1(-2 * friction * dt)) ** 0.5
    return baoab(system, ONE, wrong * ONE, dt, friction)


def test_orders_of_convergence_in_a_quartic_well():
    exact = float(truth.expectation(WELL, lambda x: x[:, 0] ** 2, box=[(-5.0, 5.0)]))
    steps = np.array([0.2, 0.1])

    def order(make, velocities):
        bias = np.array([galerkin(make(dt), WELL, velocities) - exact for dt in steps])
        return np.log2(bias[0] / bias[1]), bias

    euler, bias = order(lambda dt: euler_maruyama(WELL, ONE, dt / 2), velocities=False)
    assert euler == pytest.approx(1.0, abs=0.1)
    assert abs(bias[1]) > 1e-3
    second, bias = order(lambda dt: baoab(WELL, ONE, ONE, dt, 1.0), velocities=True)
    assert second == pytest.approx(2.0, abs=0.1)
    assert abs(bias[1]) < 1e-3
    control, _ = order(lambda dt: hot(WELL, dt, 1.0), velocities=True)
    assert control == pytest.approx(1.0, abs=0.1)


def z_scores(frames, chains, exact):
    """Deviations of averages from the truth in standard errors; chains are independent."""
    found = []
    for observable, value in exact:
        means = observable(frames.positions).reshape(chains, -1).mean(1, dtype=np.float64)
        found.append((means.mean() - value) / (means.std(ddof=1) / np.sqrt(chains)))
    return np.array(found)


def test_moments_of_langevin_dynamics():
    system = Harmonic((1.0, 9.0), temperature_kT=2.0)
    frames = langevin(system, 2000, dt=0.3, chains=1000, stride=10, friction=2.0, seed=1)
    exact = [(lambda x: x[:, 0], 0.0), (lambda x: x[:, 0] ** 2, 2.0), (lambda x: x[:, 0] ** 4, 12.0),
             (lambda x: x[:, 1] ** 2, 2 / 9), (lambda x: x[:, 0] * x[:, 1], 0.0)]  # fmt: skip
    assert np.abs(z_scores(frames, 1000, exact)).max() < 4
    assert frames.dt == 3.0
    assert frames.times is not None
    assert frames.times[:3].tolist() == [0.0, 3.0, 6.0]
    assert len(np.unique(frames.trajectory)) == 1000


def test_moments_of_overdamped_dynamics_are_those_of_its_discrete_time():
    system, dt = Harmonic((1.0, 4.0)), 0.1
    frames = overdamped(system, 1000, dt=dt, chains=2000, stride=20, equilibration=40, seed=2)
    variance = [1 / k / (1 - k * dt / 2) for k in (1.0, 4.0)]
    exact = [(lambda x: x[:, 0], 0.0), (lambda x: x[:, 0] ** 2, variance[0]), (lambda x: x[:, 1] ** 2, variance[1])]
    assert np.abs(z_scores(frames, 2000, exact)).max() < 4
    # negative control: the bias of the time step is seen, at 5 and 25 % of the variance
    wrong = [(lambda x: x[:, 0] ** 2, 1.0), (lambda x: x[:, 1] ** 2, 0.25)]
    assert z_scores(frames, 2000, wrong).min() > 8


def test_correlations_in_time():
    system, dt, friction, lag = Harmonic((1.0,)), 0.25, 0.7, 6
    frames = langevin(system, 600, dt=dt, chains=2000, stride=lag, friction=friction, seed=3)
    a, b = affine(baoab(system, ONE, ONE, dt, friction), system, velocities=True)
    exact = (np.linalg.matrix_power(a, lag) @ solve_discrete_lyapunov(a, b @ b.T))[0, 0]
    x = frames.positions.reshape(2000, -1)
    products = (x[:, 1:] * x[:, :-1]).mean(1)
    assert abs(products.mean() - exact) < 4 * products.std() / np.sqrt(2000)
    assert abs(exact) < 0.5  # far from the variance, so that a wrong time step or friction would show


def test_free_diffusion_of_each_coordinate():
    flat = from_function(lambda x: 0.0 * x.sum(-1), dim=3)
    frames = overdamped(flat, 50, dt=0.02, chains=20_000, diffusion=(0.5, 1.0, 4.0), stride=50, seed=4)
    square = frames.positions.astype(np.float64) ** 2
    exact = 2 * np.array([0.5, 1.0, 4.0]) * 50 * 0.02
    assert np.abs((square.mean(0) - exact) / (exact * np.sqrt(2 / 20_000))).max() < 4


def test_a_double_well_keeps_its_populations():
    system = systems.DoubleWell()
    frames = langevin(system, 400, dt=0.1, chains=5000, stride=40, seed=5)
    mean = float(truth.expectation(system, lambda x: x[:, 0]))
    exact = [(lambda x: x[:, 0], mean), (lambda x: x[:, 0] < 0.16745, 0.991654), (lambda x: x[:, 1] ** 2, 1.0)]
    assert np.abs(z_scores(frames, 5000, exact)).max() < 4


def dumbbell():
    """Two free atoms of 2 and 16 dalton on a harmonic bond."""
    import openmm
    from openmm import app

    molecule, force = openmm.System(), openmm.HarmonicBondForce()
    topology = app.Topology()
    residue = topology.addResidue("DUM", topology.addChain())
    atoms = [topology.addAtom(n, app.Element.getBySymbol(n), residue) for n in ("C", "O")]
    topology.addBond(*atoms)
    for mass in (2.0, 16.0):
        molecule.addParticle(mass)
    force.addBond(0, 1, 0.15, 5000.0)
    molecule.addForce(force)
    return systems.from_openmm(molecule, topology, 300.0, np.array([[0.0, 0.0, 0.0], [0.15, 0.0, 0.0]]))


def test_a_molecule_moves_in_picoseconds_and_dalton():
    system, dt, friction, steps, chains = dumbbell(), 0.004, 5.0, 250, 4000
    frames = langevin(system, steps, dt=dt, chains=chains, friction=friction, stride=50, equilibration=500, energy=True)
    assert frames.unit == "nm"
    assert frames.temperature == 300.0
    assert frames.topology is not None
    assert frames.topology.n_atoms == 2
    bond = np.linalg.norm(frames.positions[:, 1] - frames.positions[:, 0], axis=-1).astype(np.float64)
    r = np.linspace(0.05, 0.25, 20_001)
    p = r**2 * np.exp(-0.5 * 5000.0 * (r - 0.15) ** 2 / system.kT)
    for power in (1, 2):
        means = (bond**power).reshape(chains, -1).mean(1)
        exact = (r**power * p).sum() / p.sum()
        # BAOAB's own error at this time step, (omega dt)^2 = 0.045, is far below the standard error
        assert abs(means.mean() - exact) < 4 * means.std() / np.sqrt(chains)
    centre = (frames.positions * np.array([2.0, 16.0])[:, None] / 18.0).sum(1).reshape(chains, -1, 3)
    moved = ((centre[:, -1] - centre[:, 0]).astype(np.float64) ** 2).sum(-1)
    lags = np.abs(np.subtract.outer(np.arange(200), np.arange(200)))
    c = np.exp(-friction * dt * lags) + 0.5 * (
        np.exp(-friction * dt * (lags + 1)) + np.exp(-friction * dt * abs(lags - 1))
    )
    exact = 3 * system.kT / 18.0 * (dt / 2) ** 2 * 2 * c.sum()
    assert abs(moved.mean() - exact) < 4 * moved.std() / np.sqrt(chains)


def test_energies_and_forces_beside_the_positions():
    system = systems.DoubleWell()
    for sampler in (langevin, overdamped):
        frames = sampler(system, 40, dt=0.02, chains=7, stride=4, equilibration=3, energy=True, forces=True)
        x = torch.as_tensor(frames.positions)
        assert frames.energy is not None
        assert np.allclose(frames.energy, system.energy(x).numpy(), atol=1e-5)
        assert np.allclose(frames.forces, system.forces(x).numpy(), atol=1e-4)


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


@pytest.mark.parametrize("energy", [False, True])
@pytest.mark.parametrize("sampler", [langevin, overdamped])
def test_every_evaluation_is_counted(sampler, energy):
    system = Counted()
    frames = sampler(system, 12, dt=0.1, chains=5, stride=3, equilibration=4, energy=energy, compile="off")
    cost = frames.provenance["cost"]
    assert {k: cost[k] for k in system.count} == system.count
    assert cost["steps"] == 16


def test_one_seed_one_result_in_single_and_double_precision():
    system = systems.DoubleWell()
    starts = equilibrium(system, 8, seed=1).positions
    for dtype in (np.float32, np.float64):
        runs = [langevin(system, 20, dt=0.05, starts=starts.astype(dtype), seed=s).positions for s in (0, 0, 1)]
        assert runs[0].dtype == dtype
        assert np.array_equal(runs[0], runs[1])
        assert not np.array_equal(runs[0], runs[2])


def test_starts_may_be_frames_or_one_configuration():
    system = systems.DoubleWell()
    drawn = equilibrium(system, 6)
    assert len(langevin(system, 2, dt=0.01, starts=drawn)) == 12
    near = langevin(system, 1, dt=1e-4, chains=3, starts=[2.0, 1.0])
    assert np.allclose(near.positions, [[2.0, 1.0]] * 3, atol=0.01)
    molecule = dumbbell()
    positions = langevin(molecule, 1, dt=1e-5, starts=np.array([molecule.start] * 4)).positions
    assert np.allclose(positions, molecule.start, atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": 10, "stride": 3}, "multiple of stride"),
        ({"chains": 2.5}, "chains=2.5"),
        ({"dt": 0.0}, "dt=0.0"),
        ({"friction": -1.0}, "friction"),
        ({"starts": np.zeros((2, 3))}, r"shape \(chains, 2\)"),
        ({"starts": np.zeros((3, 2)), "chains": 4}, "3 starts for chains=4"),
        ({"starts": "here"}, "starts must be an array"),
        ({"dt": "0.1"}, "dt='0.1'"),
        ({"system": systems.DoubleWell}, "make one of the class first"),
        ({"system": lambda x: x.sum(-1)}, "from_function"),
        ({"compile": "jit"}, "compile='jit'"),
        ({"device": "gpu"}, "device='gpu'"),
    ],
)
def test_what_cannot_be_is_refused(arguments, what):
    with pytest.raises(ConfigError, match=what):
        langevin(**({"system": systems.DoubleWell(), "steps": 10, "dt": 0.01} | arguments))


def test_starts_of_molecules_are_in_nm():
    molecule = systems.alanine_dipeptide()
    with pytest.raises(UnitError, match=r"starts: bonded atoms are 1\..* nm apart"):
        langevin(molecule, 1, dt=1e-4, starts=10 * molecule.start)


@pytest.mark.parametrize("diffusion", [0.0, (1.0, 2.0, 3.0), (1.0, -1.0), "kT"])
def test_diffusion_must_fit(diffusion):
    with pytest.raises(ConfigError, match="diffusion"):
        overdamped(systems.DoubleWell(), 10, dt=0.01, diffusion=diffusion)


def test_a_time_step_that_is_too_long_is_told():
    with pytest.raises(SimulationError, match=r"chain \d+, are no longer finite between steps \d+ and \d+"):
        overdamped(systems.DoubleWell(), 200, dt=0.5, chains=4, stride=100)
    with pytest.raises(SimulationError, match="start 1 has no finite energy"):
        langevin(systems.DoubleWell(), 1, dt=0.01, starts=[[0.0, 0.0], [np.inf, 0.0]])
