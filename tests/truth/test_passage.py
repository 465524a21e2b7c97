"""Committors and mean first-passage times against integrals in one dimension and on rings."""

import numpy as np
import pytest
import torch
from scipy import integrate

from bayescg import systems, truth
from bayescg.errors import ConfigError

A, B = -0.9123, 1.0371  # on no face of any grid


def well(kt: float):
    x = np.linspace(-4.0, 4.0, 400_001)
    return x, (x**2 - 1.0) ** 2 / kt


def integral(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return integrate.cumulative_simpson(y, x=x, initial=0.0)


def exact_committor(kt: float, at: np.ndarray) -> np.ndarray:
    x, energy = well(kt)
    total = integral(np.where((x >= A) & (x <= B), np.exp(energy.clip(max=50.0)), 0.0), x)
    low, high = np.interp([A, B], x, total)
    return (np.interp(at, x, total) - low) / (high - low)


def exact_time(kt: float, at: np.ndarray) -> np.ndarray:
    """To B from the left: the double integral of exp(U(y) - U(z)) / kT over x < y < B and z < y."""
    x, energy = well(kt)
    total = integral(np.exp(energy.clip(max=300.0)) * integral(np.exp(-energy), x), x) / kt
    return np.interp(B, x, total) - np.interp(at, x, total)


def left(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] < A


def right(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] > B


@pytest.mark.parametrize("kt", [0.25, 1.0])
def test_one_dimension(kt):
    system = systems.QuarticDoubleWell(temperature_kT=kt)
    at = np.linspace(A + 0.01, B - 0.01, 101)
    x = torch.from_numpy(at)[:, None]
    committors, times = [], []
    sizes = (50, 200, 800)
    for cells in sizes:
        q, t = (
            truth.committor(system, left, right, cells=cells),
            truth.mean_first_passage_time(system, right, cells=cells),
        )
        committors.append(np.abs(q(x).numpy() - exact_committor(kt, at)).max())
        times.append(np.abs(t(x).numpy() - exact_time(kt, at)).max())
        assert committors[-1] < q.error
        assert times[-1] < t.error
    assert committors[-1] < 2e-5
    assert times[-1] < 1e-4 * exact_time(kt, np.array([-1.0]))[0]
    # of second order on average: where a border falls within its cell changes from grid to grid
    for errors in (committors, times):
        assert np.log(errors[0] / errors[-1]) / np.log(sizes[-1] / sizes[0]) > 1.7


def test_the_values_of_sets_hold_up_to_their_borders():
    system = systems.QuarticDoubleWell()
    q, t = truth.committor(system, left, right, cells=50), truth.mean_first_passage_time(system, right, cells=50)
    x = torch.tensor([[-3.0], [A - 1e-6], [B + 1e-6], [3.0]], dtype=torch.float64)
    assert q(x).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert t(x)[2:].tolist() == [0.0, 0.0]
    near = torch.tensor([[B - 1e-6]], dtype=torch.float64)
    assert q(near).item() == pytest.approx(1.0, abs=1e-3)
    assert t(near).item() == pytest.approx(0.0, abs=1e-2)


@pytest.mark.parametrize("kt", [0.5, 1.0])
def test_rings_in_the_plane(kt):
    """A round potential between two circles: q is the integral of exp(U / kT) / r."""
    inner, outer = 0.61, 1.83

    def energy(x: torch.Tensor) -> torch.Tensor:
        return 2.0 * (x**2).sum(-1) - 1.5 * torch.cos(2.0 * (x**2).sum(-1))

    def radius(x: torch.Tensor) -> torch.Tensor:
        return x.norm(dim=-1)

    system = systems.from_function(energy, 2, temperature_kT=kt)
    r = np.linspace(inner, outer, 20_001)
    total = integral(np.exp((2.0 * r**2 - 1.5 * np.cos(2.0 * r**2)) / kt) / r, r)
    box = [(-3.6, 3.6), (-3.5, 3.5)]
    angle = torch.linspace(0.0, 6.2, 37, dtype=torch.float64)
    at = torch.linspace(inner + 1e-3, outer - 1e-3, 21, dtype=torch.float64)
    x = at[:, None, None] * torch.stack([angle.cos(), angle.sin()], -1)
    errors = []
    for cells in (900, 3600, 14_400):
        q = truth.committor(system, lambda x: radius(x) < inner, lambda x: radius(x) > outer, box=box, cells=cells)
        exact = np.interp(at.numpy(), r, total / total[-1])
        errors.append(np.abs(q(x).numpy() - exact[:, None]).max())
        assert errors[-1] < q.error
    assert np.log(errors[0] / errors[-1]) / np.log(4.0) > 1.6
    assert errors[-1] < 0.01


def test_first_passage_of_an_oscillator_in_three_coordinates():
    """From the centre to a shell: the radial double integral in three dimensions."""
    system = systems.Harmonic((1.0, 1.0, 1.0))
    shell = 1.5
    r = np.linspace(0.0, shell, 4001)
    inside = integral(np.exp(-0.5 * r**2) * r**2, r)
    slope = np.divide(np.exp(0.5 * r**2) * inside, r**2, out=np.zeros_like(r), where=r > 0.0)
    exact = integral(slope, r)[-1]
    t = truth.mean_first_passage_time(system, lambda x: x.norm(dim=-1) > shell, cells=22**3)
    value = t(torch.zeros(3, dtype=torch.float64)).item()
    assert abs(value - exact) < t.error < exact
    assert value == pytest.approx(exact, rel=0.1)


def test_symmetry_and_complement():
    ring = systems.ThreeWellRing()
    upper = lambda x: ((x - torch.tensor([-0.5, 0.866])) ** 2).sum(-1) < 0.09  # noqa: E731 - said where it is used
    lower = lambda x: ((x - torch.tensor([-0.5, -0.866])) ** 2).sum(-1) < 0.09  # noqa: E731
    there, back = truth.committor(ring, upper, lower, cells=4900), truth.committor(ring, lower, upper, cells=4900)
    x = torch.rand((100, 2), dtype=torch.float64) * 3.0 - 1.5
    torch.testing.assert_close(there(x) + back(x), torch.ones(100, dtype=torch.float64), rtol=0, atol=1e-10)
    mirror = x * torch.tensor([1.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(there(mirror), back(x), rtol=0, atol=1e-6)
    axis = torch.tensor([[1.0, 0.0], [0.5, 0.0], [1.8, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(there(axis), torch.full((3,), 0.5, dtype=torch.float64), rtol=0, atol=1e-6)


def test_parts_that_the_sets_do_not_touch_are_left_out():
    plane, space = systems.ThreeWellRing(), systems.ThreeWellRing(50)
    sets = (lambda x: x[:, 1] > 1.0), (lambda x: x[:, 1] < -1.0)
    small, large = (truth.committor(s, *sets, cells=2500) for s in (plane, space))
    x = torch.randn((2, 30, 50), dtype=torch.float64)
    torch.testing.assert_close(large(x), small(x[..., :2]))
    assert large(x.float()).dtype == torch.float32
    # one coordinate of 32, the other way round
    many = truth.mean_first_passage_time(systems.ManyWell32(), lambda x: x[:, 30] > 1.7)
    single = truth.mean_first_passage_time(systems.ManyWell32().parts[0].system, lambda x: x[:, 0] > 1.7)
    x = torch.randn((30, 32), dtype=torch.float64)
    torch.testing.assert_close(many(x), single(x[:, 30:31]))


def test_sets_in_x_and_y_of_an_embedded_landscape():
    """Their committor does not depend on the angles, and a slow process commits at once within a well."""
    system = systems.MuellerBrown5D()
    q = truth.committor(
        system,
        lambda x: (system.split(x)[0] - torch.tensor([23.07, 31.07])).norm(dim=-1) < 3.0,
        lambda x: (system.split(x)[0] - torch.tensor([41.98, 8.45])).norm(dim=-1) < 3.0,
        cells=3600,
    )
    x = torch.tensor([[31.2, 0.0, 0.0, 15.47, 7.0], [0.0, -31.2, 15.47, 0.0, -7.0], [18.85, 0.0, 17.99, 0.0, 0.0]])
    values = q(x)
    assert values[0].item() == pytest.approx(1.0, abs=1e-4)  # C lies on B's side of the pass
    assert values[1].item() == pytest.approx(values[0].item(), abs=1e-6)
    assert 0.1 < values[2] < 0.9


@pytest.mark.parametrize(("barrier", "least"), [(20.0, 1e8), (40.0, 1e17)])
def test_rare_events(barrier, least):
    """Times of 1e17 time units keep their digits: a plain solution is wrong by a factor from 30 kT on."""
    system = systems.QuarticDoubleWell(temperature_kT=1.0 / barrier)
    t = truth.mean_first_passage_time(system, right)
    start = torch.tensor([[-1.0]], dtype=torch.float64)
    exact = exact_time(1.0 / barrier, np.array([-1.0]))[0]
    assert exact > least
    assert abs(t(start).item() - exact) < t.error < 1e-4 * exact


def test_small_sets_in_two_parts():
    """Too small for random trials to tell which coordinates they concern: both are kept."""
    system = systems.DoubleWell()
    sets = [lambda x, c=c: (x - torch.tensor([c, 0.0])).norm(dim=-1) < 0.15 for c in (-2.5, 2.36)]
    q = truth.committor(system, *sets, cells=14_400)
    box = [part.system.box[0] for part in system.parts]
    whole = truth.committor(systems.from_function(system.energy, 2), *sets, box=box, cells=14_400)
    x = torch.rand((50, 2), dtype=torch.float64) * 5.0 - 2.5
    torch.testing.assert_close(q(x), whole(x))
    assert q(x).std() > 0.3


def test_diffusion_scales_time_and_not_the_committor():
    system = systems.QuarticDoubleWell(temperature_kT=0.5)
    x = torch.tensor([[-0.5], [0.2]], dtype=torch.float64)
    slow, fast = (truth.mean_first_passage_time(system, right, diffusion=d) for d in (0.5, 2.0))
    torch.testing.assert_close(slow(x), 4.0 * fast(x))
    torch.testing.assert_close(truth.mean_first_passage_time(system, right)(x), slow(x))
    q = [truth.committor(system, left, right, diffusion=d) for d in (None, 2.0)]
    torch.testing.assert_close(q[0](x), q[1](x))
    uneven = truth.committor(system, left, right, diffusion=lambda x: 1.0 + 0.5 * torch.sin(3.0 * x))
    grid = np.linspace(A, B, 20_001)
    total = integral(np.exp((grid**2 - 1.0) ** 2 / 0.5) / (1.0 + 0.5 * np.sin(3.0 * grid)), grid)
    exact = np.interp(x[:, 0].numpy(), grid, total / total[-1])
    np.testing.assert_allclose(uneven(x).numpy(), exact, atol=uneven.error)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: truth.committor(systems.DoubleWell(), left, lambda x: x[:, 0] > 50.0), "no cell lies in the set b"),
        (lambda: truth.committor(systems.DoubleWell(), left, lambda x: x[:, 0] < -2.0), "overlap"),
        (lambda: truth.mean_first_passage_time(systems.Prinz(), lambda x: x[:, 0] < 9.0), "every cell"),
        (lambda: truth.mean_first_passage_time(systems.DoubleWell(), lambda x: x < 0.0), r"it returned \(8192, 2\)"),
        (lambda: truth.mean_first_passage_time(systems.ManyWell32(), lambda x: x.sum(-1) > 10.0), "32 coordinates"),
        (lambda: truth.mean_first_passage_time(systems.ThreeWell5D(), lambda x: x[:, 0] > 10.0), "does not know"),
        (
            lambda: truth.mean_first_passage_time(systems.QuarticDoubleWell(1, 0.01), right),
            "too rarely for double precision",
        ),
        (lambda: truth.mean_first_passage_time(systems.ManyWell32(), lambda x: x.norm(dim=-1) < 1.0), "cannot be told"),
    ],
)
def test_what_makes_no_sense_is_refused(ask, message):
    with pytest.raises(ConfigError, match=message):
        ask()


def test_rates_along_one_coordinate_are_inverse_integrals() -> None:
    """Flux D / (Z int exp(U/kT)) over E[1 - q] and E[q], by a fine sum; the two rates hold detailed balance."""
    well = systems.from_function(lambda x: 2.0 * (x[:, 0] ** 2 - 1.0) ** 2 + 0.5 * x[:, 0], dim=1, temperature_kT=0.7)
    forth, back = truth.reaction_rates(
        well, lambda x: x[:, 0] < -0.8, lambda x: x[:, 0] > 0.7, box=[(-2.6, 2.6)], diffusion=0.3
    )
    x = np.linspace(-2.6, 2.6, 400_001)
    p = np.exp(-(2.0 * (x**2 - 1.0) ** 2 + 0.5 * x) / 0.7)
    p /= p.sum()
    resistance = np.where((x > -0.8) & (x < 0.7), 1.0 / p, 0.0) * (x[1] - x[0]) ** 2 / 0.3
    q = np.cumsum(resistance) / resistance.sum()
    assert forth.value == pytest.approx(1.0 / resistance.sum() / (p @ (1.0 - q)), rel=1e-4)
    assert back.value == pytest.approx(1.0 / resistance.sum() / (p @ q), rel=1e-4)
    assert forth.error < 1e-3 * forth.value
