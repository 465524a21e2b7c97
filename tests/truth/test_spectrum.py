"""Eigenvalues and eigenfunctions: published numbers, exact oscillators, orders of convergence, honest errors."""

import numpy as np
import pytest
import torch
from numpy.polynomial import hermite_e
from scipy import integrate, linalg

from bayescg import systems, truth
from bayescg.errors import ConfigError
from bayescg.systems.analytic import AnalyticSystem
from bayescg.truth.eigen import eigenpairs
from bayescg.truth.grid import Grid

CELLS = 10_000

# eigenvalues, with half a unit in the last digit that is quoted
PUBLISHED = [
    (systems.ThreeWellRing(), [(0.2188, 5e-5), (0.7637, 5e-5), (2.790, 5e-4)]),
    (systems.ThreeWellRing(50), [(0.2188, 5e-5), (0.7637, 5e-5), (2.790, 5e-4)]),
    (systems.ThreeWellRing(100), [(0.2188, 5e-5), (0.7637, 5e-5), (2.790, 5e-4)]),
    (systems.QuarticDoubleWell(), [(0.748681, 1e-6), (6.0041, 5e-5), (11.66, 5e-3)]),
    (systems.QuarticDoubleWell(temperature_kT=0.25), [(0.029780, 5e-7), (3.310, 5e-4)]),
    (
        systems.QuarticDoubleWell(2, temperature_kT=0.25),
        [(0.029780, 5e-7), (2.0, 1e-6), (2.029780, 1e-6), (3.310, 5e-4)],
    ),
    (systems.QuadrupleWell(temperature_kT=0.25), [(0.029780, 5e-7), (0.029780, 5e-7), (0.05956, 5e-6), (3.310, 5e-4)]),
    (systems.Prinz(), [(1.1990, 5e-5), (7.8885, 5e-5), (15.3614, 5e-5), (82.08, 5e-3)]),
    (systems.CurvedWell(0.5, 1.0), [(0.4482, 5e-5), (1.2964, 1.5e-4), (2.1914, 5e-4)]),
    (systems.CurvedWell(0.5, 0.5), [(0.1600, 5e-5), (1.0955, 1e-4), (1.6209, 1e-4)]),
    (systems.CurvedWell(0.5, 0.25), [(0.024656, 1e-6), (1.03642, 5e-5), (1.23836, 5e-5)]),
    (systems.CurvedWell(0.1, 1.0), [(0.4258, 5e-5), (1.5903, 3e-4), (2.6211, 4e-4)]),
]


@pytest.mark.parametrize(("system", "numbers"), PUBLISHED, ids=lambda v: type(v).__name__)
def test_published_eigenvalues(system, numbers):
    found = truth.spectrum(system, modes=len(numbers), cells=CELLS)
    for value, error, (number, digits) in zip(found.eigenvalues, found.error, numbers, strict=True):
        assert abs(value - number) <= digits + error
        assert error <= 2.5e-3 * value  # so that the comparison above means something
    np.testing.assert_allclose(found.timescales, 1.0 / found.eigenvalues)
    np.testing.assert_allclose(found.timescale_error / found.timescales, found.error / found.eigenvalues)
    assert found.scope == "all"


FINE = [
    *(systems.ThreeWellRing(), systems.Prinz(), systems.QuarticDoubleWell(), systems.CurvedWell(0.5, 0.25)),
    *(systems.CurvedWell(0.1, 1.0), systems.MuellerBrown5D("shallow"), systems.MuellerBrown5D(), systems.ThreeWell5D()),
]


@pytest.mark.parametrize("system", FINE, ids=lambda s: type(s).__name__)
def test_the_error_holds_what_refinement_changes(system):
    """Between grids of 1600 cells and of 20 000 (40 and 2000 in one dimension)."""
    one = len(system.parts) == 1 and system.dim == 1
    rough = truth.spectrum(system, modes=3, cells=40 if one else 1600)
    fine = truth.spectrum(system, modes=3, cells=2000 if one else 20_000)
    assert (np.abs(rough.eigenvalues - fine.eigenvalues) <= rough.error + fine.error).all()
    assert (rough.error > fine.error).all()


def test_the_oscillator_is_second_order_and_extrapolates_to_fourth():
    exact = np.array([3.0, 6.0, 9.0])  # of D k / kT with D = kT
    system = systems.Harmonic((3.0,), temperature_kT=0.5)
    widths, errors, extrapolated = [], [], []
    for n in (64, 128, 256):
        widths.append(1.0 / n)
        errors.append(np.abs(eigenpairs(Grid(system, (n,)), 3)[0] - exact))
        extrapolated.append(np.abs(truth.spectrum(system, 3, cells=n).eigenvalues - exact))
    order = np.diff(np.log(errors), axis=0) / np.diff(np.log(widths))[:, None]
    np.testing.assert_allclose(order, 2.0, atol=0.1)
    order = np.diff(np.log(extrapolated), axis=0) / np.diff(np.log(widths))[:, None]
    np.testing.assert_allclose(order, 4.0, atol=0.4)


@pytest.mark.parametrize("kt", [0.5, 1.0, 3.0])
def test_hermite_eigenfunctions_of_the_oscillator(kt):
    stiffness = 2.0
    system = systems.Harmonic((stiffness,), temperature_kT=kt)
    x = torch.linspace(-2.5, 2.5, 41, dtype=torch.float64)[:, None] * (kt / stiffness) ** 0.5
    changes = []
    for n in (100, 200, 400):
        found = truth.spectrum(system, modes=3, cells=n)
        np.testing.assert_allclose(found.eigenvalues, [2.0, 4.0, 6.0], rtol=1e-4)
        psi = found.eigenfunctions(x).numpy()
        reduced = x[:, 0].numpy() * (stiffness / kt) ** 0.5
        for k in range(3):
            exact = hermite_e.hermeval(reduced, np.eye(4)[k + 1]) / [1.0, 2.0, 6.0][k] ** 0.5
            psi[:, k] *= np.sign(psi[:, k] @ exact)
            psi[:, k] -= exact
        changes.append(np.abs(psi).max(0))
    order = np.log2(np.array(changes[:-1]) / np.array(changes[1:]))
    assert (order[:, 1:] > 1.7).all()  # the first is linear: exact between centres
    assert np.max(changes[-1]) < 4e-3
    assert (found.eigenfunction_error < 4e-3).all()


def test_eigenfunctions_are_orthonormal_and_their_error_is_honest():
    system = systems.CurvedWell(0.5, 0.25)
    rough, fine = (truth.spectrum(system, modes=3, cells=cells) for cells in (1600, 22_500))
    for i in range(3):
        for j in range(i + 1):
            mean = truth.expectation(
                system, lambda x, i=i, j=j: fine.eigenfunctions(x)[:, i] * fine.eigenfunctions(x)[:, j], cells=22_500
            )
            assert mean.value == pytest.approx(float(i == j), abs=2e-3)
        apart = truth.expectation(
            system, lambda x, i=i: (rough.eigenfunctions(x)[:, i] - fine.eigenfunctions(x)[:, i]) ** 2, cells=22_500
        )
        assert apart.value**0.5 < 1.2 * rough.eigenfunction_error[i]


def rotated(stiffness: list[float], kt: float) -> AnalyticSystem:
    """An oscillator whose axes are none of the coordinates."""
    dim = len(stiffness)
    axes = torch.linalg.qr(torch.arange(1.0, dim**2 + 1.0, dtype=torch.float64).reshape(dim, dim).sin())[0]
    hessian = axes @ torch.diag(torch.tensor(stiffness, dtype=torch.float64)) @ axes.T
    reach = (2.0 * 18.0 * kt / min(stiffness)) ** 0.5

    def energy(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * torch.einsum("ni,ij,nj->n", x, hessian.to(x), x)

    return AnalyticSystem(energy, temperature_kT=kt, box=[(-reach, reach)] * dim)


@pytest.mark.parametrize(
    ("stiffness", "cells", "exact"),
    [([1.0, 2.5], CELLS, [1.0, 2.0, 2.5, 3.0]), ([1.0, 1.6, 2.5], 20**3, [1.0, 1.6, 2.0])],
)
def test_oscillators_that_do_not_separate(stiffness, cells, exact):
    found = truth.spectrum(rotated(stiffness, kt=0.8), modes=len(exact), cells=cells)
    assert (np.abs(found.eigenvalues - exact) < found.error).all()
    assert (found.error < 0.2).all()


def test_a_change_of_variable_changes_no_eigenvalue():
    """y = sinh x of an Ornstein-Uhlenbeck process: U(y) and D(y) are new, the spectrum is not (Ito's formula)."""
    kt, stiffness = 0.5, 3.0

    def energy(y: torch.Tensor) -> torch.Tensor:
        return 0.5 * stiffness * torch.asinh(y[:, 0]) ** 2 + 0.5 * kt * torch.log1p(y[:, 0] ** 2)

    system = systems.from_function(energy, 1, temperature_kT=kt)
    found = truth.spectrum(system, box=[(-12.0, 12.0)], diffusion=lambda y: kt * (1.0 + y**2))
    assert (np.abs(found.eigenvalues - [3.0, 6.0, 9.0]) < found.error + 1e-6).all()
    assert (found.error < 2e-3).all()
    wrong = truth.spectrum(system, box=[(-12.0, 12.0)])
    assert (np.abs(wrong.eigenvalues - [3.0, 6.0, 9.0]) > 0.3).all()


def test_a_periodic_coordinate_against_fourier_series():
    def energy(x: torch.Tensor) -> torch.Tensor:
        return torch.cos(x[:, 0]) + 0.5 * torch.cos(3.0 * x[:, 0])

    kt = 0.7
    system = systems.from_function(energy, 1, temperature_kT=kt)
    found = truth.spectrum(system, 4, box=[(-np.pi, np.pi)], periodic=True)
    # Galerkin in exp(ikx): integrals of exp(-U/kT) exp(imx) by the trapezoidal rule, exact for what is periodic
    x = np.arange(512) * 2.0 * np.pi / 512
    density = np.exp(-energy(torch.from_numpy(x)[:, None]).numpy() / kt)
    k = np.arange(-24, 25)
    basis = np.exp(1j * np.outer(x, k))
    mass = basis.conj().T @ (density[:, None] * basis)
    stiff = kt * mass * np.outer(k, k)
    exact = linalg.eigh(stiff, mass, eigvals_only=True)[1:5]
    assert (np.abs(found.eigenvalues - exact) < found.error).all()
    assert (found.error < 1e-3 * exact).all()
    x = torch.tensor([[0.3], [0.3 + 2.0 * np.pi], [0.3 - 4.0 * np.pi]], dtype=torch.float64)
    torch.testing.assert_close(*found.eigenfunctions(x)[:2])
    torch.testing.assert_close(*found.eigenfunctions(x)[1:])


def test_a_free_rotor_has_pairs():
    rotor = AnalyticSystem(lambda x: 0.0 * x[:, 0], temperature_kT=2.0, box=[(-np.pi, np.pi)], periodic=[True])
    found = truth.spectrum(rotor, 4)
    assert (np.abs(found.eigenvalues - [2.0, 2.0, 8.0, 8.0]) < found.error).all()
    assert (found.eigenfunction_error < 1e-4).all()  # of the spans, whatever the pairs within them


def test_scaling_energies_and_temperature_scales_rates():
    """U -> cU and kT -> c kT leave the density alone; D = kT makes all rates c times as large, D as before none."""
    base = systems.CurvedWell(0.5, 0.5)
    scaled = systems.from_function(lambda x: 3.0 * base.energy(x), 2, temperature_kT=1.5)
    values = truth.spectrum(base, cells=2500).eigenvalues
    np.testing.assert_allclose(truth.spectrum(scaled, box=base.box, cells=2500).eigenvalues, 3.0 * values, rtol=1e-9)
    same = truth.spectrum(scaled, box=base.box, cells=2500, diffusion=0.5)
    np.testing.assert_allclose(same.eigenvalues, values, rtol=1e-9)


@pytest.mark.parametrize("kt", [1.0 / 12.0, 1.0 / 36.0])
def test_rates_far_below_the_digits_of_the_matrix(kt):
    """A barrier of 36 kT, against bounds from the mean first-passage time to its top, by quadrature.

    The slow eigenfunction is odd: its rate is the lowest one with an absorbing top, so that with the time t(x) to it
    1 / max t <= rate <= <t> / <t^2> (Rayleigh's quotient of t) in the right half.
    """
    found = truth.spectrum(systems.QuarticDoubleWell(temperature_kT=kt), modes=1)
    x = np.linspace(0.0, found_reach(kt), 200_001)
    energy = (x**2 - 1.0) ** 2 / kt
    beyond = integrate.cumulative_simpson(np.exp(-energy)[::-1], x=x, initial=0.0)[::-1]
    time = integrate.cumulative_simpson(np.exp(energy) * beyond, x=x, initial=0.0) / kt
    density = np.exp(-energy)
    upper = (density @ time) / (density @ time**2)
    lower = 1.0 / time.max()
    assert 0.99 * upper < lower < upper * (1 + 1e-12)  # at the higher barrier the two agree to 15 digits
    assert lower - found.error[0] < found.eigenvalues[0] < upper + found.error[0]
    assert found.error[0] < 1e-4 * found.eigenvalues[0]


def found_reach(kt: float) -> float:
    return systems.QuarticDoubleWell(temperature_kT=kt).box[0][1]


def test_products_of_parts():
    """The sums and products of the parts of a system are the spectrum of the undivided one."""
    system = systems.QuadrupleWell(temperature_kT=0.5)
    apart = truth.spectrum(system, modes=5)
    whole = truth.spectrum(
        systems.from_function(system.energy, 2, temperature_kT=0.5),
        modes=5,
        box=[part.system.box[0] for part in system.parts],
        cells=CELLS,
    )
    assert (np.abs(apart.eigenvalues - whole.eigenvalues) < apart.error + whole.error).all()
    # the first pair is degenerate: the spans agree, and so do the third functions, x1 times x2, up to a sign
    x = torch.rand((200, 2), dtype=torch.float64) * 2.4 - 1.2
    a, b = apart.eigenfunctions(x).numpy(), whole.eigenfunctions(x).numpy()
    fit = np.linalg.lstsq(a[:, :2], b[:, :2], rcond=None)[0]
    np.testing.assert_allclose(fit @ fit.T, np.eye(2), atol=5e-3)
    np.testing.assert_allclose(a[:, :2] @ fit, b[:, :2], atol=1e-2)
    np.testing.assert_allclose(np.abs(a[:, 2]), np.abs(b[:, 2]), atol=1e-2)


def test_many_wells_have_one_slow_mode_each():
    found = truth.spectrum(systems.ManyWell32(), modes=17)
    single = truth.spectrum(systems.ManyWell32().parts[0].system, modes=1)
    np.testing.assert_allclose(found.eigenvalues[:16], single.eigenvalues[0])
    np.testing.assert_allclose(found.eigenvalues[16], 2.0 * single.eigenvalues[0])
    x = torch.randn(3, 5, 32)
    assert found.eigenfunctions(x).shape == (3, 5, 17)
    assert found.eigenfunctions(x).dtype == torch.float32


def test_the_angles_of_an_embedded_landscape_are_out_of_scope():
    found = truth.spectrum(systems.MuellerBrown5D("shallow"), modes=2, cells=2500)
    assert found.scope == "functions of X, Y, x5"
    assert "functions of X, Y, x5" in repr(found)
    surface = truth.spectrum(systems.MuellerBrown5D("shallow").parts[0].system, modes=1, cells=2500)
    assert found.eigenvalues[0] == pytest.approx(surface.eigenvalues[0])
    x = torch.tensor([[23.0, 0.0, 0.0, 31.0, 3.0], [0.0, 42.0, 8.5, 0.0, 3.0]])
    psi = found.eigenfunctions(x)[:, 0]
    assert psi[0] * psi[1] < 0.0
    turned = torch.tensor([[0.0, -23.0, 31.0, 0.0, -9.0]])
    torch.testing.assert_close(found.eigenfunctions(turned)[:, 0], psi[:1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: truth.spectrum(systems.from_function(lambda x: (x**2).sum(-1), 2)), "Give box="),
        (lambda: truth.spectrum(systems.from_function(lambda x: (x**2).sum(-1), 2), box=[(-9, 9)]), "each of the 2"),
        (lambda: truth.spectrum(systems.from_function(lambda x: (x**2).sum(-1), 4), box=[(-9, 9)] * 4), "up to 3"),
        (lambda: truth.spectrum(systems.Prinz(), modes=0), "modes=0 must be a whole number, at least 1"),
        (lambda: truth.spectrum(systems.ThreeWellRing(50), diffusion=lambda x: 1.0 + x**2), "up to 3"),
    ],
)
def test_what_makes_no_sense_is_refused(ask, message):
    with pytest.raises(ConfigError, match=message):
        ask()
