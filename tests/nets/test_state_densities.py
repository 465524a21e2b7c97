"""Where the densities of states begin: with angles of their own, of a rare state, too."""

from typing import Any

import torch

from bayescg.nets import StateDensities
from bayescg.nets.spline_flow import BOUND


class OneAngle:
    """Coordinates of which the last is an angle."""

    def get_buffer(self, name: str) -> torch.Tensor:
        assert name == "soft"
        return torch.tensor([1])


def begun(n: int = 4000) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """A common state around -2 of the axis of [-5, 5), and one of half a percent around 3; and configurations."""
    generator = torch.Generator().manual_seed(0)
    rare = torch.arange(n) < n // 200
    angle = torch.where(rare, 3.0, -2.0) + 0.4 * torch.randn(n, generator=generator)
    u = 2**0.5 * torch.erfinv(angle / BOUND)
    x = torch.stack([torch.where(rare, 4.0, 0.0) + torch.randn(n, generator=generator), u], 1)
    densities = StateDensities(2, 2, OneAngle(), layers=2, bins=8, hidden=(8,))
    densities.begin(x, torch.stack([~rare, rare], 1).float())
    return densities, x, rare


def where(densities: Any, state: int) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return BOUND * torch.erf(densities.draw(torch.full((20_000,), state))[:, 1] / 2**0.5)


def test_each_state_begins_at_its_own_angles():
    densities, x, rare = begun()
    angle = BOUND * torch.erf(x[:, 1] / 2**0.5)
    for state, members in enumerate((~rare, rare)):
        drawn = where(densities, state)
        assert float((drawn - angle[members].median()).abs().median()) < 0.45
        assert abs(float(drawn.median() - angle[members].median())) < 0.15
    # of the common state next to nothing lies where the rare one is
    assert float((where(densities, 0) > 1.5).float().mean()) < 2e-3
    with torch.no_grad():
        densities.turned.zero_()  # negative control: an angle that is uniform at first
    assert float((where(densities, 0) > 1.5).float().mean()) > 0.3


def test_the_density_is_that_of_the_draws():
    densities = begun()[0]
    edge = torch.linspace(-BOUND, BOUND, 4002)[1:-1]
    u = 2**0.5 * torch.erfinv(edge / BOUND)
    line = torch.linspace(-6.0, 10.0, 161)
    grid = torch.stack(torch.meshgrid(line, u, indexing="ij"), -1)
    with torch.no_grad():
        log_q = densities.log_prob(grid)
    slope = (2 * torch.pi) ** -0.5 * torch.exp(-0.5 * u.square()) * 2 * BOUND  # of the angle by u
    mass = (log_q.exp() / slope[:, None]).sum((0, 1)) * 0.1 * (edge[1] - edge[0])
    torch.testing.assert_close(mass, torch.ones(2), rtol=5e-3, atol=0)


def test_evidence_of_a_part_of_a_batch_stands_for_all():
    densities, x, rare = begun()
    member = torch.stack([~rare, rare], 1).float()
    with torch.no_grad():
        whole = densities.of_drawn(member, x, len(x))
        part = densities.of_drawn(member, x, 1000)
    assert not part[1000:].any()
    torch.testing.assert_close(part[:1000], 4 * whole[:1000])
