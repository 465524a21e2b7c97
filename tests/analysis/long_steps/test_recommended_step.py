"""How long a step may be: probabilities that are counts, and a recommendation that holds on fresh states."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import DataError, ModelError
from bayescg.models import ActionMap
from bayescg.systems import HenonHeiles

SYSTEM = HenonHeiles()
LAGS = (0.25, 0.5, 1.0)


@pytest.fixture(scope="module")
def fit():
    pairs = bcg.sampling.short_trajectories(SYSTEM, SYSTEM.shell(40), lag=LAGS, accuracy=1e-8)
    return bcg.fit(ActionMap(SYSTEM, waves=80), pairs)


def test_a_longer_step_is_recommended_for_a_wider_tolerance_and_holds_on_fresh_states(fit):
    errors = {}
    starts = SYSTEM.shell(20, (0.01, 0.1), seed=9)
    for lag in LAGS:
        path = bcg.sampling.mapped_dynamics(fit, starts, steps=round(2 / lag), lag=lag)
        check: Any = bcg.analysis.integrator_check(None, path, SYSTEM, canonical=False)
        errors[lag] = check.energy_rms.mean
    assert errors[1.0] > errors[0.25]
    steps = {}
    for tolerance in (1e-9, 2 * errors[0.5], 1.0):
        steps[tolerance] = bcg.analysis.recommended_step(fit, tolerance, 0.9, lags=LAGS, time=2.0, draws=2)
    none, some, longest = (s.step for s in steps.values())
    assert none is None
    assert longest == 1.0
    assert some is None or some <= 1.0
    assert "none of those tried" in repr(steps[1e-9])
    middle = steps[2 * errors[0.5]]
    shares = [p.mean for p in middle.exceeding]
    assert shares[0] <= shares[-1]
    assert middle.evaluations[0] > middle.evaluations[-1]
    if some is not None:
        path = bcg.sampling.mapped_dynamics(fit, starts, steps=round(2 / some), lag=some)
        check = bcg.analysis.integrator_check(None, path, SYSTEM, canonical=False)
        energy = check.energies.to_numpy()
        assert np.mean(np.abs(energy - energy[:, :1]) > 2 * errors[0.5]) < 0.1 + 0.1


def test_what_has_no_energy_or_no_states_is_refused(fit):
    pairs = bcg.sampling.short_trajectories(SYSTEM, SYSTEM.shell(40), lag=1.0, accuracy=1e-6)
    alone = bcg.fit(ActionMap(waves=200), pairs)
    with pytest.raises(ModelError, match="known energy"):
        bcg.analysis.recommended_step(alone, 0.1)
    loaded = bcg.Fit(fit.model, replace(fit.weights), fit.settings, dict(fit.diagnostics), fit.cost, fit.log)
    with pytest.raises(DataError, match="without frames"):
        bcg.analysis.recommended_step(loaded, 0.1)


def anharmonic(seed):
    """Two oscillators of random frequencies and couplings, and states of about the temperature."""
    rng = np.random.default_rng([seed, 3])
    w, (a, b) = rng.uniform(0.8, 1.5, 2), rng.uniform(-0.5, 0.5, 2)

    def energy(x):
        q, y = x[..., 0], x[..., 1]
        return 0.5 * (w[0] ** 2 * q**2 + w[1] ** 2 * y**2) + a * q**2 * y + b * y**3 + 0.3 * (q**4 + y**4)

    def states(n, seed):
        rng = np.random.default_rng([seed, 4])
        return tuple(torch.as_tensor(rng.normal(size=(n, 2)) * 0.05**0.5 / unit) for unit in (w, 1.0))

    return bcg.systems.from_function(energy, dim=2, temperature_kT=0.05), states


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:in .* of the frames the posterior of the map:UserWarning")
def test_the_recommended_step_holds_in_nine_of_ten_fresh_systems():
    """Each learned from forty pairs of each lag; a hundred fresh states are off by more than 3e-4 seldom enough."""
    tolerance, held = 3e-4, 0
    for seed in range(50):
        system, states = anharmonic(seed)
        pairs = bcg.sampling.short_trajectories(system, states(40, seed), lag=LAGS, accuracy=1e-9)
        fit = bcg.fit(ActionMap(system), pairs, seed=seed, progress=False)
        step = bcg.analysis.recommended_step(fit, tolerance, 0.95, seed=seed).step
        assert step is not None
        starts = states(100, 10_000 + seed)
        path = bcg.sampling.mapped_dynamics(fit, starts, steps=round(20 / step), lag=step, progress=False)
        check: Any = bcg.analysis.integrator_check(None, path, system, canonical=False)
        energy = check.energies.to_numpy()
        held += np.mean(np.abs(energy - energy[:, :1]) > tolerance) <= 0.05
    assert held >= 45
