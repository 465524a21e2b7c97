"""Dynamics by learned maps: they are the maps' own trajectories, thermostats are exact, and what fails says so."""

import numpy as np
import pytest
import torch
from scipy import stats

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import CheckpointError, ConfigError, Interrupted, ModelError, SimulationError
from bayescg.models import ActionMap, DirectMap
from bayescg.sampling import saved
from bayescg.sampling.long_steps import map_stepper
from bayescg.sampling.long_steps.momentum_baths import velocity_rescaling
from bayescg.systems import HenonHeiles, from_function

STATES = HenonHeiles().shell(4, (0.01, 0.1), seed=1)


@pytest.fixture(scope="module")
def fit():
    system = HenonHeiles()
    pairs = bcg.sampling.short_trajectories(system, system.shell(40), lag=1.0, accuracy=1e-8)
    return bcg.fit(ActionMap(system, waves=60), pairs)


@pytest.fixture(scope="module")
def oscillator():
    """The flow of an oscillator of frequency 1 over a time of 0.9, nearly exact."""
    q, p = 5 * torch.randn(2, 60, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spring = from_function(lambda x: 0.5 * x.square().sum(-1), dim=1)
    return bcg.fit(ActionMap(waves=150), bcg.sampling.short_trajectories(spring, (q, p), lag=0.9, accuracy=1e-8))


def test_short_trajectories_begin_at_rest():
    """An oscillator let go at x: x cos t, exactly; momenta of 0 are no measure of what they become."""
    spring = from_function(lambda x: 0.5 * x.square().sum(-1), dim=1)
    q = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    pairs = bcg.sampling.short_trajectories(spring, (q, torch.zeros_like(q)), lag=0.9, accuracy=1e-10)
    later = pairs.frames.gather(pairs.j), pairs.frames.gather(pairs.j, "momenta")
    exact = q * np.cos(0.9), -q * np.sin(0.9)
    for a, b in zip(later, exact, strict=True):
        assert np.abs(a - b.numpy()).max() < 1e-10


def states(path, n):
    return [torch.as_tensor(x).unflatten(0, (n, -1)) for x in (path.positions, path.momenta)]


@pytest.mark.parametrize("mode", ["off", "trace"])
def test_trajectories_are_those_of_each_draws_map(mode, fit):
    path = bcg.sampling.mapped_dynamics(fit, STATES, steps=6, stride=2, draws=2, seed=3, compile=mode, tolerance=1e-12)
    positions, momenta = states(path, 8)
    assert path.provenance["potential_draws"] == 2
    assert path.dt == 2.0
    assert np.array_equal(np.asarray(path.masses), [1.0, 1.0])
    for draw in range(2):
        q, p = STATES
        for k in range(3):
            for _ in range(2):
                q, p, *_ = fit.map(draw=draw, seed=3).step(q, p, 1e-12)
            rows = slice(4 * draw, 4 * draw + 4)
            torch.testing.assert_close(positions[rows, k], q, rtol=0, atol=1e-10)
            torch.testing.assert_close(momenta[rows, k], p, rtol=0, atol=1e-10)


def test_a_trajectory_is_the_same_alone_and_among_others(fit):
    together = bcg.sampling.mapped_dynamics(fit, STATES, steps=5, compile="off")
    alone = bcg.sampling.mapped_dynamics(fit, [x[2:3] for x in STATES], steps=5, compile="off")
    np.testing.assert_allclose(alone.positions, together.positions[10:15], rtol=0, atol=2e-12)  # rounding


def test_an_oscillator_keeps_its_phase_and_energy(oscillator):
    path = bcg.sampling.mapped_dynamics(oscillator, ([[2.0]], [[0.0]]), steps=120)
    time = np.asarray(path.times) + 0.9
    np.testing.assert_allclose(path.positions[:, 0], 2 * np.cos(time), atol=2e-3)
    np.testing.assert_allclose(path.positions**2 + path.momenta**2, 4.0, atol=2e-3)
    assert path.provenance["solver"]["residual"] <= 1e-10


@pytest.mark.parametrize("thermostat", ["langevin", "bussi"])
def test_thermostats_leave_the_canonical_distribution(thermostat, oscillator):
    """From rest, of the exact flow: variances of position and momentum are kT, within 4 standard errors."""
    chains = 2000
    starts = torch.full((2, chains, 1), 0.1, dtype=torch.float64)
    path = bcg.sampling.mapped_dynamics(
        oscillator, tuple(starts), steps=16, stride=16, thermostat=thermostat, friction=1.0, seed=1
    )
    for values in (path.positions[:, 0], path.momenta[:, 0]):
        assert abs(np.mean(values**2) - 1.0) < 4 * np.sqrt(2 / chains)
        assert abs(np.mean(values**4) - 3.0) < 4 * np.sqrt(96 / chains)


def test_velocity_rescaling_takes_kinetic_energy_where_it_belongs():
    """Its mean decays as the rate says, from any value, to the gamma distribution; atoms keep their common momentum."""
    mass = torch.tensor([1.0, 4.0, 16.0], dtype=torch.float64).repeat_interleave(3)
    generator = torch.Generator().manual_seed(0)
    p = torch.ones(20_000, 9, dtype=torch.float64) * torch.tensor([3.0, -3.0, 1.0]).repeat(3)
    total = p.unflatten(1, (-1, 3)).sum(1)
    common = total.repeat(1, 3) * mass / 21
    kinetic = lambda p: ((p - common).square() / (2 * mass)).sum(1)  # noqa: E731
    bath, first = velocity_rescaling(mass, 0.7, 0.5, 0.4, atoms=True), float(kinetic(p)[0])
    noise = lambda: torch.randn(p.shape, generator=generator, dtype=p.dtype)  # noqa: E731
    for step in range(1, 60):
        p = bath(p, noise())
        if step in (1, 5):
            mean, error = float(kinetic(p).mean()), float(kinetic(p).std()) / len(p) ** 0.5
            expected = 6 * 0.7 / 2 + (first - 6 * 0.7 / 2) * np.exp(-0.5 * 0.4 * step)
            assert abs(mean - expected) < 4 * error
    torch.testing.assert_close(p.unflatten(1, (-1, 3)).sum(1), total)
    assert stats.kstest((kinetic(p) / 0.7).numpy(), stats.gamma(3).cdf).pvalue > 1e-3


def test_an_interrupted_run_goes_on_bit_for_bit(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(saved, "EVERY", 0.0)
    run = lambda **where: bcg.sampling.mapped_dynamics(  # noqa: E731
        fit, STATES, steps=10, stride=2, thermostat="langevin", friction=0.01, draws=2, compile="off", **where
    )
    expected, move, calls = run(), map_stepper.MapStepper.__call__, []

    def impatient(*arguments):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return move(*arguments)

    monkeypatch.setattr(map_stepper.MapStepper, "__call__", impatient)
    with pytest.raises(Interrupted):
        run(out=tmp_path)
    again = run(out=tmp_path)
    assert np.array_equal(again.positions, expected.positions)
    assert np.array_equal(again.momenta, expected.momenta)
    assert len(calls) == 11
    assert again.provenance["solver"] == expected.provenance["solver"]
    assert np.array_equal(np.load(tmp_path / "frames" / "momenta.npy").reshape(-1, 2), expected.momenta)


def test_a_run_is_refused_that_is_another(fit, oscillator, tmp_path):
    starts = [x[:1] for x in STATES]
    bcg.sampling.mapped_dynamics(fit, starts, steps=2, out=tmp_path / "a")
    with pytest.raises(CheckpointError, match="another draws"):
        bcg.sampling.mapped_dynamics(fit, starts, steps=2, draws=1, out=tmp_path / "a")
    with pytest.raises(CheckpointError, match="another map"):
        bcg.sampling.mapped_dynamics(fit, [starts[0], -starts[1]], steps=2, out=tmp_path / "a")
    bcg.sampling.mapped_dynamics(oscillator, ([[1.0]], [[0.0]]), steps=2, out=tmp_path / "b")
    heavier = oscillator.model.masses.clone()
    oscillator.model.masses.mul_(2)
    with pytest.raises(CheckpointError, match="another masses"):
        bcg.sampling.mapped_dynamics(oscillator, ([[1.0]], [[0.0]]), steps=2, out=tmp_path / "b")
    oscillator.model.masses.copy_(heavier)


ESCAPING = torch.tensor([[0.0, 0.3], [0.0, 0.0]]).double(), torch.tensor([[0.05, 0.9], [0.1, 0.1]]).double()


def test_a_lost_trajectory_is_an_error_that_keeps_what_was_before(fit):
    with pytest.raises(SimulationError, match=r"trajectory 0 in step \d+: the equations|leaves the range") as caught:
        bcg.sampling.mapped_dynamics(fit, ESCAPING, steps=60)
    before = caught.value.frames
    ended = before.provenance["lost"][0]["step"]
    assert isinstance(before, Frames)
    assert [len(before.subset(before.trajectory == k)) for k in range(2)] == [ended - 1] * 2


def test_the_others_go_on_where_that_is_wanted(fit):
    with (
        pytest.warns(UserWarning, match="1 of 2 trajectories ended early, the first of them trajectory 0"),
        pytest.warns(UserWarning, match="nothing says how wrong"),
    ):
        path = bcg.sampling.mapped_dynamics(fit, ESCAPING, steps=25, lost="end")
    (loss,) = path.provenance["lost"]
    assert [int((path.trajectory == k).sum()) for k in range(2)] == [loss["step"] - 1, 25]
    alone = bcg.sampling.mapped_dynamics(fit, [x[1:] for x in ESCAPING], steps=25)
    np.testing.assert_allclose(path.positions[path.trajectory == 1], alone.positions, rtol=0, atol=1e-9)
    with pytest.raises(SimulationError, match="1 of 1 trajectories"):
        bcg.sampling.mapped_dynamics(fit, [x[:1] for x in ESCAPING], steps=25, lost="end")


def test_trajectories_where_nothing_is_known_of_errors_are_warned_of():
    system = HenonHeiles()
    pairs = bcg.sampling.short_trajectories(system, system.shell(60), lag=0.5, accuracy=1e-8)
    fit = bcg.fit(ActionMap(system, waves=300), pairs)
    high = system.shell(20, (0.4, 0.6), seed=2)
    with pytest.warns(UserWarning, match="nothing says how wrong"):
        bcg.sampling.mapped_dynamics(fit, high, steps=1)
    bcg.sampling.mapped_dynamics(fit, STATES, steps=20)  # within what was learned there is no warning


def test_a_step_without_a_solution_is_taken_as_shorter_ones(monkeypatch):
    """Of a map of a range of steps whose longest has too few iterations: the frames are those of shorter ones."""
    system = HenonHeiles()
    pairs = bcg.sampling.short_trajectories(system, system.shell(40), lag=(0.25, 0.5, 1.0), accuracy=1e-8)
    ranging = bcg.fit(ActionMap(system, waves=60), pairs)
    monkeypatch.setattr(map_stepper, "_MOST", 7)
    with pytest.raises(SimulationError, match="the equations of the step"):
        bcg.sampling.mapped_dynamics(ranging, STATES, steps=4, lag=1.0, tolerance=1e-8)
    path = bcg.sampling.mapped_dynamics(ranging, STATES, steps=4, lag=1.0, tolerance=1e-8, lost="shorter")
    assert path.provenance["solver"]["shortened"] > 0
    assert not path.provenance["lost"]
    exact = bcg.sampling.short_trajectories(system, STATES, lag=4.0, accuracy=1e-6).frames.positions[1::2]
    assert np.abs(path.positions.reshape(4, 4, 2)[:, -1] - exact).max() < 0.02
    with pytest.raises(ConfigError, match="steps up to 1"):
        bcg.sampling.mapped_dynamics(ranging, STATES, steps=1, lag=2.0)


def test_a_runaway_of_an_explicit_map_is_lost():
    """Far outside of what it has learned, at energies from which orbits escape."""
    system = HenonHeiles()
    pairs = bcg.sampling.short_trajectories(system, system.shell(40), lag=1.0, accuracy=1e-6)
    direct = bcg.fit(DirectMap(waves=40), pairs)
    step = map_stepper.MapStepper(direct.map(), None, *STATES, torch.ones(2), 1e-10, 1, "off")
    moving = torch.ones(4, dtype=torch.bool)
    assert not step(*STATES, moving).residual.any()
    step.explicit = lambda q, p: (q * torch.tensor([[1.0], [1.0], [1e4], [1.0]]), p)
    moved = step(*STATES, moving)
    assert moved.residual.isinf().tolist() == [False, False, True, False]


def test_solutions_beyond_the_caustic_are_no_steps(fit):
    """Far from what was learned the equations have solutions that are none of the flow's."""
    q, p = 1.8 * torch.randn(2, 40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.warns(UserWarning, match="ended early"), pytest.warns(UserWarning, match="nothing says how wrong"):
        path = bcg.sampling.mapped_dynamics(fit, (q, p), steps=3, lost="end")
    beyond = {loss["trajectory"] for loss in path.provenance["lost"] if "beyond the caustic" in loss["why"]}
    assert len(beyond) > 3
    ends = [path.subset(path.trajectory == k) for k in range(40) if k not in beyond and (path.trajectory == k).any()]
    for end in ends:
        last = [torch.as_tensor(x[-1:]) for x in (end.positions, end.momenta)]
        if len(end) == 3:
            assert float(fit.map().caustic(*last).determinant) > 0


def test_a_better_beginning_takes_fewer_iterations(fit):
    """The midpoint of the map itself, in the place of another model's: nothing is left to do."""

    class Solved:
        def map(self, **which):
            return self

        def displacement(self, q, p):
            step = fit.map().step(q, p, 1e-12)
            return step.q - q, step.p - p

    path = bcg.sampling.mapped_dynamics(fit, STATES, steps=2, start_from=Solved(), compile="off")
    assert path.provenance["solver"]["most_iterations"] == 1
    other = bcg.sampling.mapped_dynamics(fit, STATES, steps=2, compile="off")
    assert other.provenance["solver"]["iterations"] > 6
    np.testing.assert_allclose(path.positions, other.positions, atol=1e-9)


def test_what_cannot_be_is_refused(fit, oscillator):
    with pytest.raises(ModelError, match="no fitted map"):
        bcg.sampling.mapped_dynamics(HenonHeiles(), STATES, steps=1)
    with pytest.raises(ConfigError, match="thermostat='nose'"):
        bcg.sampling.mapped_dynamics(fit, STATES, steps=1, thermostat="nose")
    with pytest.raises(ConfigError, match="lost='no'"):
        bcg.sampling.mapped_dynamics(fit, STATES, steps=1, lost="no")
    with pytest.raises(ConfigError, match="multiple of stride"):
        bcg.sampling.mapped_dynamics(fit, STATES, steps=3, stride=2)
    with pytest.raises(ConfigError, match="not known"):
        bcg.sampling.mapped_dynamics(oscillator, ([[1.0]], [[0.0]]), steps=1, energy=True)
    with pytest.raises(ConfigError, match="shape"):
        bcg.sampling.mapped_dynamics(fit, ([[1.0]], [[0.0]]), steps=1)
