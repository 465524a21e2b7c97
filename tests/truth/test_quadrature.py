"""Partition functions, means and free energies: published numbers, Gaussians, and errors that hold."""

from math import erf, log, pi

import numpy as np
import pytest
import torch
from scipy import integrate

from bayescg import systems, truth
from bayescg.errors import ConfigError

INF = np.inf

PARTITION = [
    (systems.DoubleWell(), 12.06493, 5e-6),
    (systems.DoubleWell().parts[0].system, 11.14599, 5e-6),
    (systems.ManyWell32(), 164.69568, 5e-6),
    (systems.GaussianMixture(), 0.0, 1e-9),
    (systems.Harmonic((1.0, 4.0, 9.0, 16.0), temperature_kT=3.0), 0.5 * (4.0 * log(6.0 * pi) - log(576.0)), 1e-9),
]


@pytest.mark.parametrize(("system", "number", "digits"), PARTITION, ids=lambda v: type(v).__name__)
def test_published_partition_functions(system, number, digits):
    found = truth.log_partition(system)
    assert abs(found.value - number) <= digits + found.error
    assert found.error < 1e-6
    assert float(found) == found.value


@pytest.mark.parametrize("kt", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("epsilon", [0.1, 0.5])
def test_the_curved_well_has_the_partition_function_of_its_straight_one(epsilon, kt):
    found = truth.log_partition(systems.CurvedWell(epsilon, kt), cells=10_000)
    one = truth.log_partition(systems.QuarticDoubleWell(temperature_kT=kt))
    exact = one.value + 0.5 * log(pi * epsilon * kt)
    assert abs(found.value - exact) <= found.error + one.error + 1e-9
    assert found.error < 1e-3


def test_the_ring_gains_a_gaussian_for_each_spring():
    two, fifty = (truth.log_partition(systems.ThreeWellRing(d, temperature_kT=0.5), cells=4900) for d in (2, 50))
    assert fifty.value - two.value == pytest.approx(48 * 0.5 * log(2.0 * pi * 0.5 / 10.0), abs=1e-8)


def test_embedded_partition_functions_by_integration_in_five_coordinates():
    """Z is the area of all circles: the integral of 4 pi^2 X Y exp(-V / kT), times the length of x5."""
    system = systems.ThreeWell5D(temperature_kT=0.3)
    low, high = np.array(system.parts[0].system.box).T
    axes = [np.linspace(a, b, 801) for a, b in zip(low, high, strict=True)]
    first, second = (torch.from_numpy(g.ravel()) for g in np.meshgrid(*axes, indexing="ij"))
    zero = torch.zeros_like(first)
    energy = system.energy(torch.stack([first, zero, zero, second, zero], -1))
    density = (4.0 * pi**2 * first * second * torch.exp(-energy / 0.3)).reshape(801, 801).numpy()
    area = integrate.simpson(integrate.simpson(density, x=axes[1]), x=axes[0])
    length = 80.0 + (2.0 * pi * 0.3 / 0.1) ** 0.5
    found = truth.log_partition(system, cells=10_000)
    assert found.value == pytest.approx(log(area * length), abs=1e-6)


def test_published_means():
    mean = truth.expectation(systems.DoubleWell(), lambda x: x[:, 0])
    assert abs(mean.value + 2.44110) < 5e-6 + mean.error
    assert mean.error < 1e-6
    square = truth.expectation(systems.ThreeWellRing(100, temperature_kT=2.0), lambda x: x[:, 99] ** 2)
    assert square.value == pytest.approx(0.2, abs=1e-8)
    mixture = systems.GaussianMixture()
    mean = truth.expectation(mixture, lambda x: x[:, 1])
    assert mean.value == pytest.approx(float(mixture.means[:, 1].mean()), abs=1e-6)


def test_published_free_energies_of_the_double_well():
    fes = truth.free_energy(systems.DoubleWell(), lambda x: x[:, 0])
    higher = fes.difference((-INF, 0.16745), (0.16745, INF))
    assert abs(higher.value - 4.7776) < 5e-5 + higher.error
    assert higher.error < 1e-6
    on_the_left = fes.population((-INF, 0.16745))
    assert abs(on_the_left.value - 0.991654) < 5e-7 + on_the_left.error
    assert fes.population((-INF, INF)).value == pytest.approx(1.0, abs=1e-9)
    forth, back = fes.difference((-3.0, 0.0), (0.0, 3.0)), fes.difference((0.0, 3.0), (-3.0, 0.0))
    assert forth.value == pytest.approx(-back.value)


def test_published_free_energies_of_the_embedded_landscapes():
    three = systems.ThreeWell5D()
    fes = truth.free_energy(three, lambda x: three.split(x)[0][:, 0], bins=40, cells=10_000)
    assert fes.population((0.0, 7.5)).value == pytest.approx(0.221, abs=5e-4)  # L and R differ by the Jacobian only
    shallow = systems.MuellerBrown5D("shallow")

    def across(x: torch.Tensor) -> torch.Tensor:
        z = shallow.split(x)[0]
        return (z[:, 0] - z[:, 1]) / 2**0.5

    fes = truth.free_energy(shallow, across, bins=80, cells=10_000)
    s, profile = fes.profile.bin.values, fes.profile.values
    barrier = s[np.where((s > -4.0) & (s < 8.0), profile, -1.0).argmax()]
    found = fes.difference((-INF, barrier), (barrier, INF))
    assert found.value == pytest.approx(2.799, abs=1e-3)
    assert found.error < 1e-3


def normal(edges: np.ndarray, sd: float) -> np.ndarray:
    return np.diff([0.5 * (1.0 + erf(e / (sd * 2**0.5))) for e in edges])


@pytest.mark.parametrize("kt", [0.5, 2.0])
def test_a_slanted_cv_of_springs_is_normal(kt):
    system = systems.Harmonic((1.0, 2.0, 5.0, 7.0), temperature_kT=kt)
    slope = torch.tensor([1.0, -0.7, 0.0, 0.0], dtype=torch.float64)
    sd = (kt * (1.0 + 0.49 / 2.0)) ** 0.5
    edges = np.linspace(-3.0, 3.0, 32) * sd
    exact = -np.log(normal(edges, sd))
    for cells in (2500, 22_500):
        fes = truth.free_energy(system, lambda x: x @ slope, bins=edges, cells=cells)
        difference = np.abs(fes.profile.values - (exact - exact.min()))
        assert (difference <= fes.error.values).all()
        assert fes.error.max() < {2500: 0.1, 22_500: 0.01}[cells]
    np.testing.assert_array_equal(fes.edges, edges)


def test_the_error_of_a_profile_is_of_second_order_or_better():
    """A radius in three dimensions, whose density is that of Maxwell."""
    system = systems.Harmonic((1.0, 1.0, 1.0))
    edges = np.linspace(0.3, 3.0, 10)
    r = np.linspace(0.3, 3.0, 9001)
    below = integrate.cumulative_simpson((2.0 / pi) ** 0.5 * r**2 * np.exp(-0.5 * r**2), x=r, initial=0.0)
    exact = -np.log(np.diff(np.interp(edges, r, below)))
    changes = []
    for n in (12, 24):
        fes = truth.free_energy(system, lambda x: x.norm(dim=-1), bins=edges, cells=n**3)
        difference = np.abs(fes.profile.values - (exact - exact.min()))
        assert (difference <= fes.error.values).all()
        changes.append(difference.max())
    assert changes[0] / changes[1] > 4.0


def test_the_radius_of_the_ring():
    system = systems.ThreeWellRing()
    fes = [
        truth.free_energy(system, lambda x: x.norm(dim=-1), bins=np.linspace(0.2, 2.5, 24), cells=c)
        for c in (2500, 22_500)
    ]
    assert (np.abs(fes[0].profile - fes[1].profile) <= fes[0].error + fes[1].error).all()
    assert fes[1].error.where(fes[1].profile < 5.0).max() < 0.1


def test_a_cv_that_is_a_label():
    """Two values, no gradient: the populations of basins."""
    system = systems.DoubleWell()
    fes = truth.free_energy(system, lambda x: (x[:, 0] > 0.16745).double(), bins=[-0.5, 0.5, 1.5])
    np.testing.assert_allclose(fes.profile.values, [0.0, 4.7776], atol=2e-3)  # the border lies within a cell
    assert fes.difference((-0.5, 0.5), (0.5, 1.5)).error < 0.1
    assert abs(fes.profile.values[1] - 4.77755) < fes.error.values[1]


def test_bins_by_default_reach_over_all_that_is_likely():
    fes = truth.free_energy(systems.Prinz(temperature_kT=0.5), lambda x: x[:, 0], bins=50)
    assert fes.profile.dims == ("bin",)
    assert fes.profile.min() == 0.0
    assert fes.profile.max() > 10.0
    assert np.isfinite(fes.profile).all()
    assert (fes.error < 0.01).all()
    x = np.linspace(float(fes.edges[0]), float(fes.edges[-1]), 50 * 200 + 1)
    density = torch.exp(-systems.Prinz().energy(torch.from_numpy(x)[:, None]) / 0.5).numpy()
    below = integrate.cumulative_simpson(density, x=x, initial=0.0)[::200]
    exact = -np.log(np.diff(below))
    assert (np.abs(fes.profile.values - exact + exact.min()) <= fes.error.values).all()


def test_bins_that_nothing_reaches_are_infinite():
    fes = truth.free_energy(systems.Prinz(), lambda x: x[:, 0], bins=[-9.0, -8.0, 0.0, 8.0])
    assert fes.profile.values[0] == INF
    assert fes.error.values[0] == INF
    with pytest.raises(ConfigError, match="no probability"):
        fes.difference((-9.0, -8.0), (0.0, 1.0))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: truth.free_energy(systems.Prinz(), lambda x: x[:, 0], bins=0),
            "bins=0 must be a whole number, at least 1",
        ),
        (lambda: truth.free_energy(systems.Prinz(), lambda x: x[:, 0], bins=[1.0, 0.0]), "ascend"),
        (lambda: truth.free_energy(systems.Prinz(), lambda x: x[:, 0] * 0.0), "constant"),
        (lambda: truth.free_energy(systems.Prinz(), lambda x: x[:, 0].log()), "not finite"),
        (lambda: truth.free_energy(systems.Prinz(), lambda x: x[:, 0], bins=[8.0, 9.0]), "no bin holds"),
        (lambda: truth.free_energy(systems.ManyWell32(), lambda x: x.sum(-1)), "32 coordinates"),
        (lambda: truth.expectation(systems.ManyWell32(), lambda x: (x**2).sum(-1)), "32 coordinates"),
        (lambda: truth.free_energy(systems.Prinz(), lambda x: x[:, 0]).population((1.0, 0.0)), "lo < hi"),
        (lambda: truth.log_partition(systems.from_function(lambda x: x[:, 0] ** 2, 1)), "Give box="),
        (lambda: truth.log_partition(systems.Prinz(), box=[(-1.0, 0.5)]), "larger box="),
    ],
)
def test_what_makes_no_sense_is_refused(ask, message):
    with pytest.raises(ConfigError, match=message):
        ask()
