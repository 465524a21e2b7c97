"""The analytic potentials: published stationary points, exact gradients, symmetries, parts that make up the whole."""

import numpy as np
import pytest
import torch
from scipy.optimize import root

from bayescg import sampling, systems, truth
from bayescg.errors import ConfigError
from bayescg.systems.analytic import AnalyticSystem, Part

ALL = [
    systems.Harmonic((1.0, 4.0, 9.0)),
    systems.DoubleWell(),
    systems.DoubleWell(temperature_kT=3.0),
    systems.QuarticDoubleWell(),
    systems.QuarticDoubleWell(3, temperature_kT=0.25),
    systems.QuadrupleWell(temperature_kT=0.25),
    systems.Prinz(),
    systems.CurvedWell(0.5, temperature_kT=0.25),
    systems.CurvedWell(0.1),
    systems.RippledWell(),
    systems.ThreeWellRing(),
    systems.ThreeWellRing(50),
    systems.ManyWell32(),
    systems.GaussianMixture(),
    systems.MuellerBrown5D(),
    systems.MuellerBrown5D("shallow"),
    systems.ThreeWell5D(),
]
FLAT = [s for s in ALL if not isinstance(s, systems.MuellerBrown5D | systems.ThreeWell5D)]
EMBEDDED = [s for s in ALL if s not in FLAT]


def named(system: AnalyticSystem) -> str:
    return f"{type(system).__name__}-{system.dim}-{system.kT:.3g}"


def points(system: AnalyticSystem, n: int = 40) -> torch.Tensor:
    """Random points in the inner half of the boxes of a system's parts."""
    generator = torch.Generator().manual_seed(1)
    places = []
    for part in system.parts:
        low, high = torch.tensor(part.system.box, dtype=torch.float64).T
        uniform = torch.rand((n, part.system.dim), dtype=torch.float64, generator=generator)
        places.append(low + (high - low) * (0.25 + 0.5 * uniform))
    return system.join(places)


@pytest.mark.parametrize("system", ALL, ids=named)
def test_bounds_hold_the_system_and_no_more(system):
    """Draws lie within, those of each coordinate on both sides of the middle of its side."""
    x = sampling.equilibrium(system, 1000, seed=0).positions
    low, high = np.array(system.bounds).T
    assert ((x > low) & (x < high)).all()
    assert (np.ptp(x, 0) > 0.1 * (high - low)).all()


@pytest.mark.parametrize("system", ALL, ids=named)
def test_forces_are_minus_the_slope_of_the_energy(system):
    x = points(system)
    step = 1e-5
    direction = torch.nn.functional.normalize(torch.randn(x.shape, dtype=torch.float64), dim=-1)
    slope = (system.energy(x + step * direction) - system.energy(x - step * direction)) / (2.0 * step)
    scale = float(slope.abs().max()) + 1e-12
    # central differences: error of step^2 times a third derivative, of at most 1e4 slopes here (Prinz)
    torch.testing.assert_close(-(system.forces(x) * direction).sum(-1), slope, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("system", ALL, ids=named)
def test_any_leading_shape_and_either_precision(system):
    x = points(system, 12)
    flat = system.energy(x)
    torch.testing.assert_close(system.energy(x.reshape(3, 1, 4, -1)), flat.reshape(3, 1, 4))
    torch.testing.assert_close(system.log_prob(x), -flat / system.kT)
    single = system.energy(x.float())
    assert single.dtype == torch.float32
    assert flat.dtype == torch.float64
    torch.testing.assert_close(single.double(), flat, rtol=1e-4, atol=1e-4 * float(flat.abs().max()))
    assert system.energy(x[0]).shape == ()
    assert system.energy(x[:0]).shape == (0,)


@pytest.mark.parametrize("system", FLAT, ids=named)
def test_the_energy_of_the_parts_adds_up(system):
    x = points(system)
    split = system.split(x)
    torch.testing.assert_close(system.join(split), x)
    parts = [part.system.energy(z) for part, z in zip(system.parts, split, strict=True)]
    torch.testing.assert_close(torch.stack(parts).sum(0), system.energy(x))


@pytest.mark.parametrize("system", EMBEDDED, ids=named)
def test_the_density_of_the_parts_carries_the_jacobian(system):
    x = points(system)
    split = system.split(x)
    torch.testing.assert_close(system.join(split), x)
    parts = torch.stack([part.system.energy(z) for part, z in zip(system.parts, split, strict=True)]).sum(0)

    def join(flat: torch.Tensor) -> torch.Tensor:
        return system.join([flat[None, :2], flat[None, 2:3], flat[None, 3:4], flat[None, 4:]])[0]

    jacobian = torch.stack([torch.autograd.functional.jacobian(join, flat) for flat in torch.cat(split, -1)])
    torch.testing.assert_close(parts, system.energy(x) - system.kT * torch.linalg.slogdet(jacobian)[1])


@pytest.mark.parametrize("system", ALL, ids=named)
def test_boxes_end_where_the_density_does(system):
    for part in {id(p.system): p.system for p in system.parts}.values():
        if any(part.periodic):
            continue
        low, high = torch.tensor(part.box, dtype=torch.float64).T
        z = torch.rand((4000, part.dim), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        inside = part.energy(low + (high - low) * z).min()
        for axis in range(part.dim):
            for end in (low, high):
                face = low + (high - low) * z
                face[:, axis] = end[axis]
                assert part.energy(face).min() > inside + 14.0 * part.kT


def test_a_wider_box_for_a_higher_temperature():
    for make in (systems.DoubleWell, systems.Prinz, systems.CurvedWell, systems.ThreeWellRing, systems.GaussianMixture):
        cold, hot = (make(temperature_kT=t).parts[0].system.box for t in (0.5, 2.0))
        assert all(h[0] < c[0] and c[1] < h[1] for c, h in zip(cold, hot, strict=True))
    assert systems.ThreeWellRing(temperature_kT=2.0).kT == 2.0


def stationary(system: AnalyticSystem, start: tuple[float, ...]) -> tuple[np.ndarray, float]:
    """The stationary point next to `start`, and its energy."""

    def force(x: np.ndarray) -> np.ndarray:
        return system.forces(torch.tensor(x, dtype=torch.float64)).numpy()

    found = root(force, start, tol=1e-12)
    assert np.abs(force(found.x)).max() < 1e-9
    return found.x, float(system.energy(torch.tensor(found.x, dtype=torch.float64)))


def test_stationary_points_of_the_double_well():
    system = systems.DoubleWell()
    for x, energy in ((-2.52892, -11.4898), (2.36147, -6.5937), (0.16745, 0.0835)):
        at, value = stationary(system, (x, 0.1))
        np.testing.assert_allclose(at, [x, 0.0], atol=5e-6)
        assert value == pytest.approx(energy, abs=5e-5)


def test_minima_of_prinz():
    for x in (-0.7394, -0.2237, 0.2691, 0.6733):
        at, _ = stationary(systems.Prinz(), (x,))
        assert at[0] == pytest.approx(x, abs=5e-5)


def landscape(system: AnalyticSystem) -> AnalyticSystem:
    """V(X, Y), as the energy over the half plane where x2 = x4 = x5 = 0."""

    def energy(z: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros_like(z[:, :1])
        return system.energy(torch.cat([z[:, :1], zero, z[:, 1:], zero, zero], -1))

    return AnalyticSystem(energy, temperature_kT=system.kT, box=system.parts[0].system.box)


MUELLER = [((23.07, 31.07), -1.2725), ((41.98, 8.45), -0.9383), ((31.20, 15.47), -0.7006)]
MUELLER += [((18.85, 17.99), -0.3527), ((35.40, 12.69), -0.6267)]


@pytest.mark.parametrize(("depth", "divisor"), [("deep", 1.0), ("shallow", 5.0)])
def test_stationary_points_of_mueller_and_brown(depth, divisor):
    surface = landscape(systems.MuellerBrown5D(depth))
    for place, energy in MUELLER:
        at, value = stationary(surface, place)
        np.testing.assert_allclose(at, place, atol=6e-3)
        assert value * divisor == pytest.approx(energy, abs=6e-5)


def test_stationary_points_of_the_three_wells():
    surface = landscape(systems.ThreeWell5D())
    for place, energy in (
        ((3.31, 7.33), 0.0026),
        ((11.69, 7.33), 0.0026),
        ((7.5, 13.65), 0.9139),
        ((7.5, 6.24), 1.3077),
    ):
        at, value = stationary(surface, place)
        np.testing.assert_allclose(at, place, atol=6e-3)
        assert value == pytest.approx(energy, abs=6e-5)


def test_barriers_of_the_free_energy_hold_the_jacobian():
    """Of F(X, Y) = V - kT ln(X Y), in eV at 300 K: the pass, less the wells it joins."""
    deep = systems.MuellerBrown5D().parts[0].system
    a, b, over = (stationary(deep, start)[1] for start in ((23.07, 31.07), (41.98, 8.45), (18.85, 17.99)))
    assert [over - a, over - b, b - a] == pytest.approx([0.939, 0.587, 0.352], abs=6e-4)
    flat = systems.MuellerBrown5D("shallow")
    a, b, over = (stationary(flat.parts[0].system, start)[1] for start in ((23.0, 31.1), (41.9, 8.5), (18.9, 18.0)))
    assert over - a == pytest.approx(0.2030, abs=6e-5)
    assert (over - b) / flat.kT == pytest.approx(4.56, abs=6e-3)
    three = systems.ThreeWell5D().parts[0].system
    left, right, upper = (stationary(three, start)[1] for start in ((3.31, 7.33), (11.69, 7.33), (7.5, 13.65)))
    over = [stationary(three, start)[1] for start in ((5.3, 11.5), (9.7, 11.5))]
    assert [max(over) - left, max(over) - right] == pytest.approx([1.151, 1.183], abs=6e-4)
    assert max(over) - upper == pytest.approx(0.277, abs=6e-4)


def test_symmetries():
    x = points(systems.ThreeWellRing())
    mirror = x * torch.tensor([1.0, -1.0], dtype=torch.float64)
    for system in (systems.ThreeWellRing(), systems.DoubleWell(), systems.QuadrupleWell()):
        torch.testing.assert_close(system.energy(mirror), system.energy(x), rtol=0, atol=0)
    torch.testing.assert_close(systems.QuadrupleWell().energy(x.flip(-1)), systems.QuadrupleWell().energy(x))
    torch.testing.assert_close(
        systems.CurvedWell().energy(x * torch.tensor([-1.0, 1.0])), systems.CurvedWell().energy(x)
    )
    many = points(systems.ManyWell32())
    shuffled = many.reshape(-1, 16, 2)[:, torch.randperm(16)].reshape(-1, 32)
    torch.testing.assert_close(systems.ManyWell32().energy(shuffled), systems.ManyWell32().energy(many))


@pytest.mark.parametrize("system", EMBEDDED, ids=named)
def test_embedded_landscapes_turn_freely(system):
    x = points(system)
    turn = torch.linalg.qr(torch.randn(2, 2, 2, dtype=torch.float64))[0]
    turned = torch.cat([x[:, :2] @ turn[0], x[:, 2:4] @ turn[1], x[:, 4:]], -1)
    torch.testing.assert_close(system.energy(turned), system.energy(x))
    far = x.clone()
    far[:, 4] = 41.0
    near = far.clone()
    near[:, 4] = 39.0
    rise = (system.energy(far) - system.energy(near)).numpy()
    np.testing.assert_allclose(rise, 0.05, atol=2e-6)  # of the wall; x5 itself moves X by 1e-7 x5^2 / 2X


def test_the_ring_has_forces_at_its_centre():
    x = torch.zeros(2, 2, dtype=torch.float64)
    assert torch.isfinite(systems.ThreeWellRing().forces(x)).all()
    near = systems.ThreeWellRing().energy(torch.tensor([[1e-9, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(systems.ThreeWellRing().energy(x[:1]), near)
    assert near.item() == pytest.approx(0.2 + 2.0 + 5.0)


def test_the_mixture_is_a_density_with_forty_centres():
    system = systems.GaussianMixture()
    assert system.means.shape == (40, 2)
    assert system.means.abs().max() <= 40.0
    assert torch.pdist(system.means).min() > 1.0
    scale = float(np.log1p(np.e))
    normal = torch.distributions.MultivariateNormal(system.means, scale**2 * torch.eye(2, dtype=torch.float64))
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(40).double()), normal)
    x = points(system)
    torch.testing.assert_close(system.log_prob(x), mixture.log_prob(x))
    before = torch.random.get_rng_state()
    systems.GaussianMixture()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: systems.Harmonic(()), "one number for each coordinate"),
        (lambda: systems.Harmonic((1.0, -1.0)), "positive"),
        (lambda: systems.ThreeWellRing(1), "dim=1 must be a whole number, at least 2"),
        (lambda: systems.CurvedWell(0.0), "positive"),
        (lambda: systems.MuellerBrown5D("flat"), "'deep' or 'shallow'"),
        (lambda: AnalyticSystem(lambda x: x[:, 0], temperature_kT=1.0), "box or parts"),
        (lambda: AnalyticSystem(lambda x: x[:, 0], temperature_kT=1.0, box=[(1.0, 0.0)]), "lower bound"),
        (lambda: AnalyticSystem(lambda x: x[:, 0], temperature_kT=1.0, box=[(0, 1)], periodic=[True] * 2), "one entry"),
        (
            lambda: AnalyticSystem(
                lambda x: x[:, 0], temperature_kT=1.0, box=[(0, 1)], parts=[Part(systems.QuarticDoubleWell())]
            ),
            "only one",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_states_and_observables_of_hidden_landscapes_are_those_of_their_plane() -> None:
    system = systems.MuellerBrown5D("shallow")
    first, second = torch.tensor([23.07, 0.0, 31.07, 0.0, 5.0]), torch.tensor([0.0, 41.98, 0.0, -8.45, 0.0])
    x = torch.stack([first, second, 0.5 * (first + second)])
    assert [state(x).tolist() for state in system.states.values()][:2] == [[True, False, False], [False, True, False]]
    torch.testing.assert_close(system.observables["X-Y"](x[:2]), torch.tensor([-8.0, 33.53]) * 0.5**0.5)
    for name, state in systems.ThreeWell5D().states.items():
        centre = systems.ThreeWell5D.minima[name]
        assert bool(state(torch.tensor([[0.0, centre[0], centre[1], 0.0, 0.0]])))


def test_the_rippled_well_coarse_grained_to_x_is_a_quartic_under_constant_noise():
    system = systems.RippledWell()
    mean = system.mean_potential
    x = torch.linspace(-4.0, 5.0, 91, dtype=torch.float64)[:, None]
    y = torch.linspace(-23.0, 23.0, 2001, dtype=torch.float64)
    quartic = ((x - 4) * (x - 2) * (x + 2) * (x + 3) / 50)[:, 0]
    off = mean.energy(x) - quartic
    assert float(off.max() - off.min()) < 0.0125
    plane = torch.stack(torch.broadcast_tensors(x, y), -1)
    weights, forces = torch.softmax(-system.energy(plane), -1), system.forces(plane)[..., 0]
    expected = (weights * forces).sum(-1)
    torch.testing.assert_close(expected[:, None], mean.forces(x), rtol=0, atol=1e-9)
    noise = (weights * (forces - expected[:, None]) ** 2).sum(-1)
    assert noise.numpy() == pytest.approx(0.33113, abs=5e-6)
    at = mean.energy(torch.tensor([[-2.5462], [0.1238], [3.1724], [4.5]], dtype=torch.float64))
    assert (at[1:] - at[:-1])[[0, 2]].numpy() == pytest.approx([1.1125, 1.8383], abs=5e-5)
    assert float(at[2] - at[0]) == pytest.approx(-0.4720, abs=5e-5)
    sides = truth.free_energy(mean, lambda x: x[:, 0], cells=4000).difference((-np.inf, 0.125), (0.125, np.inf))
    assert sides.value == pytest.approx(-0.42289, abs=1e-5)
    mean_square = truth.expectation(mean, lambda x: mean.forces(x)[:, 0] ** 2, cells=2000)
    assert mean_square.value == pytest.approx(0.9975, abs=1e-3)
