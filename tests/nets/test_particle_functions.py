"""Functions of particles: what may not matter, sums over groups, and the orders of the action that they hold."""

import pytest
import torch
from torch.func import grad

from bayescg.nets import ParticleFunctions, smooth_cutoff
from bayescg.systems import from_function


def potential(atoms, cutoff=None):
    """Lennard-Jones particles, with forces that end at the cutoff where there is one."""
    i, j = torch.triu_indices(atoms, atoms, 1)

    def energy(x):
        x = x.unflatten(-1, (-1, 3))
        r = (x[..., i, :] - x[..., j, :]).square().sum(-1).sqrt()
        near = 1.0 if cutoff is None else smooth_cutoff(r, cutoff)
        return (4 * (r**-12 - r**-6) * near).sum(-1)

    return from_function(energy, 3 * atoms)


def states(count, atoms, seed=0):
    """Positions on a lattice of distance 1.15, displaced, and momenta."""
    generator = torch.Generator().manual_seed(seed)
    sites = torch.cartesian_prod(*[torch.arange(4.0, dtype=torch.float64)] * 3)[:atoms]
    noise = torch.randn(2, count, 3 * atoms, generator=generator, dtype=torch.float64)
    return 1.15 * sites.flatten() + 0.08 * noise[0], noise[1]


def functions(kinds, known, cutoff: float | None = 2.0, radial=4):
    masses = torch.tensor([{"A": 1.0, "B": 3.0}[kind] for kind in kinds], dtype=torch.float64)
    energy = potential(len(kinds), cutoff).energy if known else None
    result = ParticleFunctions(kinds, radial, cutoff, energy)
    result.masses.copy_(masses)
    return result


@pytest.mark.parametrize("known", [False, True], ids=["alone", "of an energy"])
def test_place_direction_and_order_of_like_particles_do_not_matter(known):
    f = functions("AABBA", known)
    q, p = states(3, 5)
    value = f(q, p)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]

    def moved(x, order, shift=0.0):
        return (x.unflatten(1, (-1, 3))[:, order] @ rotation + shift).flatten(1)

    like, unlike = [1, 4, 3, 2, 0], [2, 1, 0, 3, 4]
    torch.testing.assert_close(f(moved(q, like, 5.0), moved(p, like)), value, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(f(q, -p), value, rtol=0, atol=0)
    assert not torch.allclose(f(moved(q, unlike), moved(p, unlike)), value, rtol=1e-3)


@pytest.mark.parametrize("known", [False, True], ids=["alone", "of an energy"])
def test_groups_out_of_reach_add_up(known):
    q, p = states(3, 4)
    other_q, other_p = (x[:, :9] for x in states(3, 3, seed=1))
    both, groups = functions("AABAABA", known), (functions("AABA", known), functions("ABA", known))
    apart = torch.cat([q, other_q + 20.0], 1), torch.cat([p, other_p], 1)
    torch.testing.assert_close(both(*apart), groups[0](q, p) + groups[1](other_q, other_p))
    near = torch.cat([q, other_q + 1.1], 1), torch.cat([p, other_p], 1)
    assert not torch.allclose(both(*near), both(*apart))


@pytest.mark.parametrize("known", [False, True], ids=["alone", "of an energy"])
def test_slopes_are_those_of_the_values(known):
    f = functions("AABBA", known)
    q, p = states(2, 5)
    weight = torch.randn(f.size, dtype=torch.float64)
    exact = grad(lambda q, p: (f(q, p) @ weight).sum(), argnums=(0, 1))(q, p)
    for slope, value in zip(f.slopes(q, p), exact, strict=True):
        torch.testing.assert_close(torch.einsum("nkd,k->nd", slope, weight), value)


def orders(energy, masses, q, p):
    """S_1 without the kinetic energy, S_3 and S_5 of S = h S_1 + h^3 S_3 + h^5 S_5 by the Hamilton-Jacobi equation."""
    speed = p / masses

    def along(f, x):
        return lambda q: (grad(lambda y: f(y).sum())(q) * x).sum(-1)

    def third(q, p):
        slope = grad(lambda x: energy(x).sum())
        turned = grad(lambda x: (slope(x) * (p / masses)).sum())(q)
        return ((slope(q).square() / masses).sum(-1) + (turned * p / masses).sum(-1)) / 24

    by_q, by_p = grad(lambda a, b: third(a, b).sum(), argnums=(0, 1))(q, p)
    force = -grad(lambda x: energy(x).sum())(q)
    curved = grad(lambda x: along(energy, speed)(x).sum())(q)
    second = ((by_p * curved).sum(-1) - (force * by_q / masses).sum(-1)) / 4
    fourth = along(along(along(along(energy, speed), speed), speed), speed)(q) / (16 * 24)
    return energy(q), third(q, p), (second + fourth) / 5


def left_over(design, value):
    """Of a value not in the span of functions, relative to it."""
    design = design / design.norm(dim=0).clamp_min(1e-300)
    return float((value - design @ torch.linalg.lstsq(design, value, driver="gelsd").solution).norm() / value.norm())


@pytest.mark.parametrize("radial", [4, 3])
def test_orders_of_the_action_are_among_them_exactly(radial):
    """For Lennard-Jones particles of unequal masses; not without the power of repulsion, -12."""
    kinds, tolerance = "AABB", 1e-9
    energy = potential(4).energy
    q, p = states(150, 4)
    alone, beyond = (functions(kinds, known, None, radial) for known in (False, True))
    beyond.energy = energy
    first, third, fifth = orders(energy, alone.masses.repeat_interleave(3), q, p)
    errors = [left_over(alone(q, p), first), left_over(alone(q, p), third), left_over(beyond(q, p), fifth)]
    if radial == 4:
        assert max(errors) < tolerance
    else:
        assert min(errors) > 1e-7
