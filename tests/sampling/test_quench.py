"""Basins by steepest descent, where they are known."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError, SimulationError
from bayescg.sampling import quench
from bayescg.systems import System

SIDES = {"A": lambda x: x[:, 0] < -0.9, "B": lambda x: x[:, 0] > 0.9}


def test_the_ridge_of_a_double_well_divides():
    """Along steep and soft directions alike: the sign of x decides, though y is a hundred times stiffer."""
    well = System(lambda x: (x[:, 0] ** 2 - 1) ** 2 + 100 * x[:, 1] ** 2, dim=2, temperature_kT=0.1)
    x = np.random.default_rng(0).normal(size=(300, 2))
    frames = quench(well, x, SIDES, compile="off")
    np.testing.assert_array_equal(np.asarray(frames.labels), x[:, 0] > 0)
    np.testing.assert_allclose(np.asarray(frames.energy), well.energy(torch.as_tensor(x)).numpy())
    assert frames.commitments is None
    assert frames.provenance["labels"] == "region that steepest descent leads to"


def test_basins_of_turned_double_wells_are_the_quadrants():
    """Two wells along each of two turned axes, one twenty times as stiff: steepest descent keeps the signs."""
    turn = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)

    def energy(x: torch.Tensor) -> torch.Tensor:
        return ((x @ turn.to(x)) ** 2 - 1).square() @ x.new_tensor([1.0, 20.0])

    def near(a: float, b: float):
        return lambda x: (x @ turn.to(x) - x.new_tensor([a, b])).norm(dim=1) < 0.1

    signs = [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)]
    x = torch.as_tensor(np.random.default_rng(2).normal(size=(200, 2)))
    frames = quench(System(energy, dim=2, temperature_kT=0.1), x, {str(s): near(*s) for s in signs}, compile="off")
    quadrant = ((x @ turn) > 0).int() @ torch.tensor([2, 1], dtype=torch.int32)
    np.testing.assert_array_equal(np.asarray(frames.labels), quadrant.numpy())


def test_what_rests_elsewhere_has_no_label():
    three = System(lambda x: -torch.cos(2 * torch.pi * x[:, 0]), dim=1, temperature_kT=1.0)
    ends = {"A": lambda x: (x[:, 0] + 1).abs() < 0.1, "B": lambda x: (x[:, 0] - 1).abs() < 0.1}
    frames = quench(three, [[-1.3], [0.2], [0.7], [-0.1]], ends, compile="off")
    assert np.asarray(frames.labels).tolist() == [0, -1, 1, -1]


def test_what_cannot_be_is_refused():
    well = bcg.systems.QuarticDoubleWell()
    with pytest.raises(SimulationError, match="no configuration slid into 'B'; of 1, 1 reached other"):
        quench(well, [[-0.5]], SIDES, compile="off")
    with pytest.raises(ConfigError, match="overlap"):
        quench(well, [[-0.5]], {"A": lambda x: x[:, 0] < 0, "B": lambda x: x[:, 0] < 1})
    with pytest.warns(UserWarning, match="1 of 3 configurations were still going down after 25 steps"):
        quench(well, [[1e-12], [-1.0], [1.0]], SIDES, steps=25, compile="off")
