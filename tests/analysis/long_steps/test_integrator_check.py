"""The check of an integrator: silent on right ones, and it names what is wrong with others."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis.long_steps.by_trajectory import over_trajectories
from bayescg.analysis.long_steps.motion import motion
from bayescg.data import Frames
from bayescg.errors import DataError, SimulationError
from bayescg.models import ActionMap
from bayescg.systems import FermiPastaUlam, HenonHeiles


@pytest.fixture(scope="module")
def fit():
    system = HenonHeiles()
    pairs = bcg.sampling.short_trajectories(system, system.shell(40), lag=1.0, accuracy=1e-8)
    return bcg.fit(ActionMap(system, waves=60), pairs)


@pytest.fixture(scope="module")
def verlet():
    """A chain of unequal masses, canonical starts."""
    chain = FermiPastaUlam()
    return bcg.sampling.newtonian(chain, 400, dt=0.2, starts=60, stride=4, seed=1)


def test_every_draw_of_an_action_map_passes(fit):
    starts = HenonHeiles().shell(5, (0.02, 0.06), seed=1)
    path = bcg.sampling.mapped_dynamics(fit, starts, steps=30, draws=2, seed=4, compile="off")
    check: Any = bcg.analysis.integrator_check(fit, path, canonical=False, states=3)
    assert check.passed, check
    assert check.reversibility < 1e-8
    assert check.volume < 1e-8
    assert check.energies.shape == (10, 30)
    assert check.motion.sizes["draw"] == 2
    assert set(check.energy_drift.sd_by_source) == {"sampling", "parameter"}
    energy = check.energies.to_numpy()
    expected = np.sqrt(np.mean((energy - energy[:, :1]) ** 2))
    assert check.energy_rms.mean == pytest.approx(expected)
    assert expected < 1e-3
    assert "wanted 0" in repr(check)


def test_states_far_from_those_of_the_training_are_told(fit):
    """Learned below an energy of 0.13, followed at 0.65, and on the way, after one of two steps."""
    starts = torch.tensor([[0.0, -0.9]]).double(), torch.tensor([[0.0, 0.1]]).double()
    with pytest.warns(UserWarning, match="nothing says how wrong"):
        path = bcg.sampling.mapped_dynamics(fit, starts, steps=2, compile="off")
    check: Any = bcg.analysis.integrator_check(fit, path, canonical=False, states=1)
    assert check.unknown == 0.5
    assert any("far from all that the map was learned from" in fault for fault in check.faults)


def test_velocity_verlet_passes(verlet):
    check: Any = bcg.analysis.integrator_check(None, verlet, FermiPastaUlam())
    assert check.passed, check
    assert check.reversibility is None
    assert [abs(t.mean - 1) < 4 * t.sd for t in check.temperatures.values()] == [True] * 4


def test_a_drift_is_seen_with_its_size(verlet):
    """Momenta that grow by one per mille in a unit of time: of the kinetic energy, 2 kT, twice that."""
    growing = replace(verlet, momenta=verlet.momenta * (1 + 1e-3 * verlet.times)[:, None])
    check: Any = bcg.analysis.integrator_check(None, growing, FermiPastaUlam())
    assert any("the energy drifts" in fault for fault in check.faults)
    assert check.energy_drift.mean == pytest.approx(2 * 1e-3 * 2 * 0.3, rel=0.25)


def test_violated_equipartition_is_named(verlet):
    colder = np.array(verlet.momenta)
    colder[:, 3] *= 0.7
    check: Any = bcg.analysis.integrator_check(None, replace(verlet, momenta=colder))
    right = bcg.analysis.integrator_check(None, verlet).temperatures["x4"]
    assert check.faults[0].startswith("equipartition is violated: x4 has 0.")
    assert check.temperatures["x4"].mean == pytest.approx(0.49 * right.mean)
    assert check.energy_rms is None


def test_a_step_that_loses_volume_is_seen(fit):
    """A control: the same map, all states a little closer to the origin afterwards."""

    class Damped:
        model, device, weights = fit.model, fit.device, replace(fit.weights, kind="none")

        def map(self, **which):
            return self

        def step(self, q, p, tolerance):
            step = fit.map().step(q, p, tolerance)
            return step._replace(q=0.999 * step.q, p=0.999 * step.p)

    damped: Any = Damped()
    path = bcg.sampling.mapped_dynamics(fit, HenonHeiles().shell(3, (0.02, 0.06)), steps=4, compile="off")
    check: Any = bcg.analysis.integrator_check(damped, path, canonical=False)
    assert check.volume == pytest.approx(1 - 0.999**4, rel=1e-3)
    assert any("not symplectic" in fault for fault in check.faults)
    assert any("not reversible" in fault for fault in check.faults)


def test_intervals_over_draws_and_starts_hold_the_mean():
    """Two-way layout of draws, starts and what is of both: 90 % intervals hold the truth in 90 % of 400 tables."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        table = rng.normal(size=(8, 1)) + 0.7 * rng.normal(size=(1, 12)) + 0.5 * rng.normal(size=(8, 12))
        low, high = over_trajectories(table.ravel(), 8, "", seed=int(rng.integers(1000))).ci90 or (0.0, 0.0)
        hits += low < 0 < high
    assert 0.85 < hits / 400 < 0.95
    lonely = over_trajectories(np.array([1.0]), 1, "")
    assert lonely.ci90 is None
    assert over_trajectories(np.array([1.0, np.nan, 2.0, 3.0]), 2, "").mean == 2.0


def test_momenta_of_molecules_are_kept_by_verlet():
    molecule = bcg.systems.alanine_dipeptide()
    positions = np.tile(molecule.start.reshape(1, -1), (2, 1))
    path = bcg.sampling.newtonian(molecule, 10, dt=0.0005, starts=Frames.from_numpy(
        positions.reshape(2, -1, 3), unit="nm", temperature=330.0), compile="off")  # fmt: skip
    check: Any = bcg.analysis.integrator_check(None, path, molecule, canonical=False)
    assert check.momentum < 1e-10
    assert check.angular_momentum < 1e-6  # forces are of single precision
    assert list(check.temperatures) == ["H", "C", "O", "N"]


def test_the_spectrum_of_oscillators_is_at_their_frequencies():
    time, dt = np.arange(2000) * 0.05, 0.05
    frames = Frames.from_numpy(np.zeros((4000, 2)), unit="reduced", dt=dt, trajectory=np.repeat([0, 1], 2000))
    speeds = np.concatenate([np.stack([np.sin(2 * math.pi * f * time), 0 * time], 1) for f in (1.0, 3.0)])
    both = motion(frames, speeds)
    assert both.autocorrelation[0, 0] == 1
    lag = both.lag.to_numpy()
    expected = 0.5 * (np.cos(2 * math.pi * lag) + np.cos(6 * math.pi * lag))
    np.testing.assert_allclose(both.autocorrelation[0], expected, atol=0.01)
    peaks = both.frequency.to_numpy()[np.argsort(both.spectrum[0].to_numpy())[-2:]]
    assert sorted(np.round(peaks).tolist()) == [1.0, 3.0]
    one_each = motion(frames, speeds, draws=2)
    np.testing.assert_allclose([s.idxmax().item() for s in one_each.spectrum], [1.0, 3.0], atol=0.03)


def test_frames_without_momenta_are_refused(fit, verlet):
    for lacking in ({"momenta": None}, {"masses": None}, {"dt": None}):
        with pytest.raises(DataError, match=r"no (momenta|masses|times)"):
            bcg.analysis.integrator_check(None, replace(verlet, **lacking))


def test_velocity_verlet_is_of_second_order():
    system, starts = HenonHeiles(), HenonHeiles().shell(4, seed=2)
    exact = bcg.sampling.short_trajectories(system, starts, lag=2.0).frames
    later = exact.positions[1::2]
    errors = []
    for steps in (20, 40):
        path = bcg.sampling.newtonian(system, steps, dt=2.0 / steps, starts=starts, stride=steps, compile="off")
        errors.append(np.abs(path.positions - later).max())
    assert 3.8 < errors[0] / errors[1] < 4.2
    compiled = bcg.sampling.newtonian(system, 40, dt=0.05, starts=starts, stride=40, compile="inductor")
    np.testing.assert_allclose(compiled.positions, path.positions, rtol=0, atol=1e-12)
    assert torch.as_tensor(path.momenta).dtype == torch.float64


def test_what_velocity_verlet_did_before_it_blew_up_is_there():
    chain = FermiPastaUlam()
    with pytest.raises(SimulationError, match="no longer finite") as caught:
        bcg.sampling.newtonian(chain, 400, dt=1.2, starts=20, seed=1)
    assert np.isfinite(caught.value.frames.momenta).all()
