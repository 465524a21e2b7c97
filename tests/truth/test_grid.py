"""The finite-volume generator: detailed balance to rounding, positive rates, and what is refused."""

import numpy as np
import pytest
import torch

from bayescg import systems
from bayescg.errors import ConfigError
from bayescg.systems.analytic import AnalyticSystem
from bayescg.truth.exact import extrapolate
from bayescg.truth.grid import Grid, log_mean_exp, refinements

TORSION = AnalyticSystem(
    lambda x: torch.cos(x[:, 0]) + 0.5 * torch.cos(3.0 * x[:, 0]) + 0.3 * x[:, 1] ** 2,
    temperature_kT=0.7,
    box=[(-np.pi, np.pi), (-9.0, 9.0)],
    periodic=[True, False],
)
CASES = [
    (systems.Prinz(), (60,), None),
    (systems.ThreeWellRing(), (18, 22), None),
    (systems.CurvedWell(0.5, 0.25), (20, 16), lambda x: 0.5 + x**2),
    (systems.MuellerBrown5D().parts[0].system, (20, 20), lambda x: 1.0 + x[:, 0]),
    (TORSION, (16, 10), 2.0),
]


@pytest.mark.parametrize(("system", "shape", "diffusion"), CASES)
def test_detailed_balance_is_exact(system, shape, diffusion):
    grid = Grid(system, shape, diffusion)
    rates = grid.generator().toarray()
    off = rates - np.diag(np.diag(rates))
    assert (off >= 0.0).all()
    np.testing.assert_allclose(rates.sum(1), 0.0, atol=1e-13 * np.abs(rates).max())
    np.testing.assert_allclose(np.logaddexp.reduce(grid.log_mass), 0.0, atol=1e-12)
    i, j = np.nonzero(off)
    assert {*zip(i.tolist(), j.tolist(), strict=True)} == {*zip(j.tolist(), i.tolist(), strict=True)}
    # flows i -> j and j -> i are the same to rounding, over tens of orders of magnitude
    there, back = grid.log_mass[i] + np.log(off[i, j]), grid.log_mass[j] + np.log(off[j, i])
    np.testing.assert_allclose(there, back, rtol=0, atol=1e-10)
    symmetric = grid.symmetric().toarray()
    np.testing.assert_array_equal(symmetric, symmetric.T)
    similar = np.sqrt(np.exp(grid.log_mass[i] - grid.log_mass[j])) * off[i, j]
    np.testing.assert_allclose(-symmetric[i, j], similar, rtol=1e-10)


def test_periodic_coordinates_have_a_link_around_the_end():
    i, j, _, axis = Grid(TORSION, (16, 10)).links
    assert (axis == 0).sum() == 16 * 10
    assert (axis == 1).sum() == 16 * 9
    around = (axis == 0) & (np.abs(i - j) == 15 * 10)
    assert around.sum() == 10


def test_rates_between_linear_pieces_are_exact():
    """A constant force: the flux of Scharfetter and Gummel vanishes for the Boltzmann density at any width."""
    slope = AnalyticSystem(lambda x: 7.0 * x[:, 0], temperature_kT=2.0, box=[(0.0, 1.0)])
    rates = Grid(slope, (4,)).generator().toarray()
    step = 7.0 * 0.25 / 2.0
    assert rates[1, 0] == pytest.approx(2.0 / 0.25**2 * step / (1.0 - np.exp(-step)))
    assert rates[1, 2] == pytest.approx(2.0 / 0.25**2 * step / (np.exp(step) - 1.0))


def test_log_mean_exp():
    a, b = np.array([0.0, 0.0, 1.0, -700.0, 3.0]), np.array([1.0, 1e-6, 1.0, 800.0, 2.0])
    exact = [np.log(np.e - 1.0), 5e-7 + 1e-12 / 24.0, 1.0, 800.0 - np.log(1500.0), 2.0 + np.log(np.e - 1.0)]
    np.testing.assert_allclose(log_mean_exp(a, b), exact, rtol=1e-12)


def test_three_grids():
    shapes = [g.shape for g in refinements(systems.ThreeWellRing(), 10_000)]
    assert shapes == [(100, 100), (70, 70), (50, 50)]
    assert refinements(systems.Prinz(), 40_000)[0].shape == (2000,)


@pytest.mark.parametrize("order", [1.0, 1.5, 2.0, 3.0, 4.0])
def test_the_error_of_an_extrapolation_covers_any_order(order):
    widths = [0.1, 0.1 * 2**0.5, 0.2]
    for second in (1.0, -3.0, 0.0):
        values = [np.array(2.0 + second * h**2 + 0.7 * h**order) for h in widths]
        value, error = extrapolate(values, widths)
        assert abs(value - 2.0) <= error


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid(AnalyticSystem(lambda x: x[:, 0].log(), temperature_kT=1.0, box=[(-1, 1)]), (4,)), "not finite"),
        (lambda: Grid(TORSION, (16, 10), -1.0).links, "positive"),
        (lambda: Grid(TORSION, (16, 10), lambda x: x[:, 0]).links, "positive"),
        (lambda: Grid(TORSION, (16, 10), lambda x: x[:, :1]).links, r"returned shape \(\d+, 1\)"),
        (lambda: refinements(systems.Prinz(), 5), "at least 10"),
        (
            lambda: refinements(AnalyticSystem(lambda x: x[:, 0] ** 2, temperature_kT=1.0, box=[(-6, 1)]), 100),
            "upper end of coordinate 1",
        ),
        (
            lambda: refinements(AnalyticSystem(lambda x: -x[:, 0], temperature_kT=1.0, box=[(0, 1)]), 100),
            r"cuts off probability at the upper end of coordinate 1, \(0.0, 1.0\): beyond lies about \d\d% of it",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
