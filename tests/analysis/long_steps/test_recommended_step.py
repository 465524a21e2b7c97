"""How long a step may be: probabilities that are counts, and a recommendation that holds on fresh states."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

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
