"""Annealing: unbiased partition functions, populations that quoted errors cover, every mode of a mixture."""

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, Uniform

from bayescg import systems, truth
from bayescg.errors import ConfigError, SimulationError
from bayescg.sampling import Schedule, annealed_importance, smc
from bayescg.systems import DoubleWell, GaussianMixture, Harmonic, ManyWell32, MuellerBrown5D, from_function

LOG_Z, LEFT = 12.06493, 0.991654


def left(x):
    return x[:, 0] < 0.16745


def gaussian(dim, width):
    return Independent(Normal(torch.zeros(dim), width), 1)


@pytest.mark.parametrize("sampler", [smc, annealed_importance])
def test_double_well(sampler):
    drawn = sampler(DoubleWell(), seed=1)
    assert abs(drawn.log_z - LOG_Z) < 4 * drawn.log_z_sd < 0.15
    share = drawn.expectation(left)
    assert abs(share.mean - LEFT) < 4 * share.sd < 0.004
    assert drawn.schedule.betas[-1] == 1.0
    assert len(drawn.frames) == 10_000
    assert drawn.frames.order is None
    x = torch.as_tensor(drawn.frames.positions)
    assert np.allclose(drawn.frames.energy, DoubleWell().energy(x).numpy(), atol=1e-4)


def test_islands_of_smc_estimate_z_without_bias():
    # with very few particles and temperatures, where a wrong weight anywhere would show
    system, base = Harmonic((4.0, 0.5)), gaussian(2, 1.5)
    exact = float(truth.log_partition(system))
    pilot = smc(system, base=base, particles=4, islands=500, cess=0.6, moves=1, leapfrog=2, seed=1)
    fixed = smc(system, base=base, particles=4, islands=40_000, moves=1, leapfrog=2, schedule=pilot.schedule, seed=2)
    ratio = np.exp(fixed.log_z_islands - exact)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / 200
    assert ratio.std() > 0.2
    # negative control: the mean of log Z is biased, as it must be
    assert np.log(ratio).mean() < -4 * np.log(ratio).std() / 200


def test_chains_of_annealed_importance_sampling_estimate_z_without_bias():
    system, base = DoubleWell(), gaussian(2, 4.0)
    pilot = annealed_importance(system, base=base, chains=2000, cess=0.8, moves=1, seed=1)
    fixed = annealed_importance(system, base=base, chains=40_000, moves=1, schedule=pilot.schedule, seed=2)
    ratio = np.exp(fixed.log_z_islands - LOG_Z)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / 200
    assert np.allclose(fixed.schedule.betas, pilot.schedule.betas)


def chi_square(pairs, exact):
    """Sum of squared deviations in units of the quoted errors."""
    return sum(((mean - exact) / sd) ** 2 for mean, sd in pairs)


@pytest.mark.slow  # by default: test_double_well, within 4 quoted errors
def test_quoted_errors_cover_the_truth():
    runs = [smc(DoubleWell(), particles=32, islands=50, seed=100 + k) for k in range(12)]
    # 12 squares of a Student t of 49 degrees of freedom: 0.1 % of the sums lie below 2.2, 0.1 % above 35
    assert 2.2 < chi_square([(r.log_z, r.log_z_sd) for r in runs], LOG_Z) < 35
    shares = [r.expectation(left) for r in runs]
    assert 2.2 < chi_square(shares, LEFT) < 35
    # negative control: particles that were resampled are not independent
    weights = [np.asarray(r.frames.weights) for r in runs]
    naive = [w.std() / w.mean() / np.sqrt(len(w)) for w in weights]
    assert chi_square([(r.log_z, sd) for r, sd in zip(runs, naive, strict=True)], LOG_Z) > 35


def coverage(run, factor, runs=200):
    """How many intervals of 90 % hold log Z and P(left), and how many of log Z with errors that are too small."""
    held = np.zeros(3, int)
    for seed in range(runs):
        drawn = run(seed)
        w, share = np.asarray(drawn.frames.weights), drawn.expectation(left)
        naive = w.std() / w.mean() / np.sqrt(len(w))  # as if particles that were resampled were independent
        deviations = abs(drawn.log_z - LOG_Z), abs(share.mean - LEFT), abs(drawn.log_z - LOG_Z)
        held += np.array(deviations) < factor * np.array([drawn.log_z_sd, share.sd, naive])
    return held


@pytest.mark.slow
def test_coverage():
    # of 200 right intervals of 90 %, 165 to 192 hold the truth, but for one family of nine cells in a hundred
    islands = coverage(lambda seed: smc(DoubleWell(), particles=32, islands=50, seed=seed), 1.6766)  # Student's t
    assert ((islands[:2] >= 165) & (islands[:2] <= 192)).all(), islands
    assert islands[2] < 165, islands  # the negative control
    chains = coverage(lambda seed: annealed_importance(DoubleWell(), chains=2000, seed=seed), 1.6454)
    assert ((chains[:2] >= 165) & (chains[:2] <= 192)).all(), chains


def test_a_base_may_be_correlated_and_an_expectation_any_function():
    base = MultivariateNormal(torch.tensor([1.0, -1.0]), torch.tensor([[9.0, 2.0], [2.0, 4.0]]))
    drawn = annealed_importance(Harmonic((1.0, 4.0), temperature_kT=2.0), base=base, chains=5000)
    exact = float(truth.log_partition(Harmonic((1.0, 4.0), temperature_kT=2.0)))
    assert abs(drawn.log_z - exact) < 4 * drawn.log_z_sd < 0.1
    square = drawn.expectation(lambda x: x[:, 0] ** 2)
    assert abs(square.mean - 2.0) < 4 * square.sd < 0.4


def test_forty_modes():
    mixture = GaussianMixture()
    drawn = smc(mixture, particles=100, islands=40, seed=1)
    x = torch.as_tensor(drawn.frames.positions)
    nearest = ((x[:, None] - mixture.means) ** 2).sum(-1).argmin(1).numpy()
    assert abs(drawn.log_z) < 4 * drawn.log_z_sd < 0.1
    for mode in range(40):
        share = drawn.expectation(lambda _, mode=mode: nearest == mode)
        assert abs(share.mean - 1 / 40) < 4.5 * share.sd < 0.03


@pytest.mark.slow
def test_sixteen_double_wells():
    drawn = smc(ManyWell32(), particles=400, islands=50, cess=0.95, moves=6, seed=1)
    assert abs(drawn.log_z - 164.69568) < 4 * drawn.log_z_sd < 0.5
    shares = [drawn.expectation(lambda x, i=i: x[:, 2 * i] > 0) for i in range(16)]
    exact = float(truth.free_energy(ManyWell32(), lambda x: x[:, 0]).population((0.0, np.inf)))
    z = np.array([(s.mean - exact) / s.sd for s in shares])
    assert np.abs(z).max() < 4.5


def test_frames_carry_islands_weights_and_what_they_cost():
    system = DoubleWell()
    drawn = smc(system, particles=20, islands=20, moves=2, leapfrog=3, forces=True)
    frames, stages = drawn.frames, len(drawn.schedule.betas)
    assert frames.trajectory.tolist() == np.repeat(np.arange(20), 20).tolist()
    assert (frames.blocks(20) == frames.trajectory).all()  # the blocks of a bootstrap
    assert np.allclose(frames.forces, system.forces(torch.as_tensor(frames.positions)).numpy(), atol=1e-4)
    cost = frames.provenance["cost"]
    assert cost["energy_evaluations"] == 400 * (1 + 2 * stages)
    assert cost["force_evaluations"] == 400 * (stages * (1 + 2 * 3) + 1)


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
    drawn = smc(system, base=gaussian(2, 3.0), particles=10, islands=60, forces=True, compile="off")
    cost = drawn.frames.provenance["cost"]
    assert {k: cost[k] for k in system.count} == system.count


def test_one_seed_one_result():
    runs = [smc(DoubleWell(), particles=20, islands=60, seed=s) for s in (0, 0, 1)]
    assert np.array_equal(runs[0].frames.positions, runs[1].frames.positions)
    assert runs[0].log_z == runs[1].log_z != runs[2].log_z


def test_energies_that_are_infinite_somewhere():
    # a hard wall at 0, so that half of the base is forbidden: Z is half a Gaussian's
    walled = from_function(lambda x: torch.where(x[:, 0] > 0, 0.5 * x[:, 0] ** 2, torch.inf), dim=1)
    drawn = smc(walled, base=gaussian(1, 2.0), particles=100, islands=60)
    assert abs(drawn.log_z - 0.5 * np.log(np.pi / 2)) < 4 * drawn.log_z_sd < 0.1
    assert drawn.frames.positions.min() > 0
    chains = annealed_importance(walled, base=gaussian(1, 2.0), chains=2000)
    assert abs(chains.log_z - 0.5 * np.log(np.pi / 2)) < 4 * chains.log_z_sd < 0.3
    assert 800 < len(chains.frames) < 1200  # the others began beyond the wall
    square = chains.expectation(lambda x: x[:, 0] ** 2)
    assert abs(square.mean - 1.0) < 4 * square.sd < 0.3
    with pytest.raises(SimulationError, match="finite energy"):
        smc(from_function(lambda x: x[:, 0] * 0 + torch.inf, dim=1), base=gaussian(1, 1.0))


def test_a_landscape_hidden_in_five_coordinates_has_a_box_to_begin_from():
    """Exact, over 36 kT of barrier: the sum of its parts' log partition functions."""
    system = MuellerBrown5D()
    drawn = smc(system, particles=20, islands=60, compile="off", seed=1)
    assert abs(drawn.log_z - truth.log_partition(system).value) < 4 * drawn.log_z_sd < 0.5


def test_unequal_islands_are_told():
    with pytest.warns(UserWarning, match="islands are worth only"):
        smc(ManyWell32(), particles=4, islands=60, moves=1, seed=1)


@pytest.mark.parametrize(
    ("system", "arguments", "what"),
    [
        (from_function(lambda x: x[:, 0] ** 2, dim=1), {}, "give base="),
        (DoubleWell(), {"base": Normal(torch.zeros(2), 1.0)}, r"batch shape \(2,\)"),
        (DoubleWell(), {"base": gaussian(3, 1.0)}, r"event shape \(3,\)"),
        (DoubleWell(), {"cess": 1.0}, "cess=1.0"),
        (DoubleWell(), {"cess": "0.9"}, "cess='0.9' must be a number"),
        (DoubleWell, {}, "make one of the class first"),
        (DoubleWell(), {"particles": 0}, "particles=0"),
        (DoubleWell(), {"islands": 1}, "islands=1"),
        (DoubleWell(), {"resample": 1.5}, "resample=1.5"),
        (DoubleWell(), {"schedule": Schedule(np.array([0.5, 0.4, 1.0]), np.ones((3, 5)), np.ones((3, 2)))}, "increase"),
        (DoubleWell(), {"schedule": Schedule(np.array([1.0]), np.ones((1, 2)), np.ones((1, 2)))}, r"\(1, 5\)"),
    ],
)
def test_what_cannot_be_is_refused(system, arguments, what):
    with pytest.raises(ConfigError, match=what):
        smc(system, **arguments)


def test_the_users_base_is_left_as_it_is():
    base = Independent(Uniform(torch.full((2,), -6.0), torch.full((2,), 6.0)), 1)
    smc(DoubleWell(), base=base, particles=20, islands=60)
    with pytest.raises(ValueError, match="support"):
        base.log_prob(torch.full((2,), 7.0))
