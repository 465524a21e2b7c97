"""Diagnostics of learned implicit steps, and steps that no action of midpoints can make."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.models import ActionMap
from bayescg.sampling.long_steps.fastest_mode import fastest_mode
from bayescg.systems import FermiPastaUlam, from_function

STATES = [torch.linspace(-0.3, 0.3, 30).double().view(10, 3)[:, [k, 2, 1 - k]] for k in (0, 1)]


def test_the_diagnostics_of_an_oscillator_are_exact():
    """det = sec²(h/2), radius tan(h/2), angle h, for each draw; frequency 1."""
    q, p = torch.randn(2, 60, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spring = from_function(lambda x: 0.5 * x.square().sum(-1), dim=1)
    for h in (0.5, 1.4):
        fit = bcg.fit(ActionMap(waves=80), bcg.sampling.short_trajectories(spring, (q, p), lag=h))
        for step in (fit.map(), fit.map(draws=2)):
            near = step.caustic(0.3 * q[:10], 0.3 * p[:10])
            np.testing.assert_allclose(near.determinant, 1 / math.cos(h / 2) ** 2, rtol=1e-3)
            np.testing.assert_allclose(near.radius, math.tan(h / 2), rtol=1e-3)
            np.testing.assert_allclose(near.angle, h, rtol=1e-3)


def test_the_fastest_mode_is_that_of_a_chain():
    """Of n equal masses between walls, 2 sin(n π / (2 n + 2))."""
    chain = FermiPastaUlam((2.0,) * 5, alpha=0.0, beta=0.0)
    mode: Any = fastest_mode(chain, torch.zeros(3, 5).double(), torch.full((5,), 2.0).double())
    assert mode.period == pytest.approx(2 * math.pi / (2 * math.sin(5 * math.pi / 12) / 2**0.5))
    assert mode.described(chain) == "of coordinate 2 mostly"
    flat = from_function(lambda x: -x.square().sum(-1), dim=2)
    assert fastest_mode(flat, torch.zeros(1, 2), torch.ones(2)) is None


def test_a_step_beyond_the_caustic_is_refused_by_the_mode_and_the_largest_step():
    light = FermiPastaUlam((4.0, 0.25, 4.0), alpha=0.0, beta=0.0)
    with pytest.raises(ConfigError, match=r"coordinate 1 mostly, has a period of 2\.\d+, and from half of it on, 1\.0"):
        bcg.fit(ActionMap(light, waves=10), bcg.sampling.short_trajectories(light, STATES, lag=1.2, accuracy=1e-6))
    bcg.fit(ActionMap(light, waves=10), bcg.sampling.short_trajectories(light, STATES, lag=1.0, accuracy=1e-6))


def test_atoms_of_the_fastest_mode_are_named():
    system = bcg.systems.alanine_dipeptide()
    start = torch.as_tensor(system.start).reshape(1, -1)
    mass = bcg.sampling.sampled_frames.masses(system)
    mode: Any = fastest_mode(system, start, mass)
    assert mode.period == pytest.approx(0.0101, abs=1e-4)  # N-H stretches
    assert mode.described(system) == "of atoms H (7) and H (17) mostly"
