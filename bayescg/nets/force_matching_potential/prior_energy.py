"""Energies that are put in beforehand, and keep a learned potential to where there are data."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from bayescg.nets.random import Prior, gaussian

__all__ = ["BondedEnergy", "HarmonicEnergy", "PriorEnergy"]

_STIFFNESS = 0.5
"""Of its logarithm: a factor of 1.6. Among published priors of beads, those of 1/2 k x^2, k x^2 and with or without the
Jacobian of a length differ by up to 2; and a spring that pulls at what others hold is stiffer than kT / variance."""
_REST = 0.5
"""Widths of the measured distribution: its mean is off by half the widths where it is skewed or curved that much."""
_RADIUS = 0.1
"""Of its logarithm: a factor of 1.8 in the repulsion. The shortest hundredth of distances is that sharp."""


class PriorEnergy(nn.Module):
    r"""Springs around what frames show, fixed or with parameters that are random; in kT.

    .. math:: \frac12 \sum_i k_i \Big(\frac{q_i - \bar q_i}{w_i} - r_i\Big)^2, \qquad
              \ln k_i \sim N(0, 0.5^2), \quad r_i \sim N(0, 0.5^2)

    with means :math:`\bar q` and widths w: medians of the prior are the stiffness :math:`kT / w^2` and the mean.
    Fixed, k = 1 and r = 0.

    Parameters
    ----------
    springs : int
    uncertain : bool
        Whether there are parameters, `log_stiffness` and `rest`; only these are random.

    References
    ----------
    Liu, Shi, Daumé, Voth, J. Chem. Phys. 129, 214114 (2008), for force fields of beads with a prior.
    """

    mean: Tensor
    width: Tensor
    log_stiffness: Tensor | None
    rest: Tensor | None

    def __init__(self, springs: int, uncertain: bool = False):
        super().__init__()
        self.register_buffer("mean", torch.zeros(springs))
        self.register_buffer("width", torch.ones(springs))
        for name in ("log_stiffness", "rest"):
            self._random(name, springs, uncertain)

    @property
    def prior(self) -> dict[str, Prior]:
        """Of each of its parameters, for :func:`bayescg.nets.random_net`; made anew, as no file keeps a function."""
        return {"log_stiffness": gaussian(_STIFFNESS), "rest": gaussian(_REST), "log_radius": gaussian(_RADIUS)}

    def _random(self, name: str, size: int, uncertain: bool) -> None:
        self.register_parameter(name, nn.Parameter(torch.zeros(size)) if uncertain and size else None)

    def reset_parameters(self) -> None:
        """Begin at what was measured."""
        for p in self.parameters():
            nn.init.zeros_(p)

    def _stretched(self, q: Tensor) -> Tensor:
        """Energies ``(...)`` of lengths ``(..., springs)``."""
        away = (q - self.mean) / self.width
        if self.log_stiffness is None or self.rest is None:
            return 0.5 * away.square().sum(-1)
        return 0.5 * (self.log_stiffness.exp() * (away - self.rest).square()).sum(-1)


class HarmonicEnergy(PriorEnergy):
    r"""Springs around the means of flat coordinates; in kT.

    .. math:: \frac12 \sum_i (x_i - \bar x_i)^2 / \mathrm{Var}\, x_i

    Examples
    --------
    >>> energy = HarmonicEnergy(1)
    >>> energy.measure(torch.tensor([[0.0], [2.0]]), torch.ones(2))
    >>> energy(torch.tensor([[3.0]]))
    tensor([2.])
    """

    def measure(self, x: Tensor, weight: Tensor) -> None:
        """Take means and variances of coordinates ``(n, dim)`` that count `weight` ``(n,)``."""
        mean, width = _moments(x, weight)
        self.mean.copy_(mean)
        self.width.copy_(width)

    def forward(self, x: Tensor) -> Tensor:
        """Energies ``(n,)`` in kT of ``(n, dim)``."""
        return self._stretched(x)


class BondedEnergy(PriorEnergy):
    r"""Springs of bonds and angles, and a repulsion of all beads that are further apart along the bonds; in kT.

    .. math:: \frac12 \sum_b (d_b - \bar d_b)^2 / \mathrm{Var}\, d_b
              + \frac12 \sum_a (c_a - \bar c_a)^2 / \mathrm{Var}\, c_a + \sum_p (\sigma_p / d_p)^6

    with distances d and cosines c of angles. Means and variances are those of the frames, and :math:`\sigma_p`, where
    the repulsion is 1 kT, the shortest hundredth of the distances. Chains are held together, and apart. Where it is
    uncertain, the logarithm of :math:`\sigma_p` is :math:`N(\cdot, 0.1^2)`, `log_radius` away from that.

    Parameters
    ----------
    beads : int
        Number of beads.
    bonds : sequence of (int, int)
        Between neighbours; may be empty.
    uncertain : bool

    References
    ----------
    Wang et al., ACS Cent. Sci. 5, 755 (2019), section on prior energies.
    """

    sigma: Tensor
    log_radius: Tensor | None

    def __init__(self, beads: int, bonds: Sequence[tuple[int, int]], uncertain: bool = False):
        bonds = sorted({(min(pair), max(pair)) for pair in bonds})
        around = [sorted(a + b - i for a, b in bonds if i in (a, b)) for i in range(beads)]
        angles = [(a, i, b) for i, ends in enumerate(around) for a, b in combinations(ends, 2)]
        near = {*bonds, *((a, b) for a, _, b in angles)}
        others = [pair for pair in combinations(range(beads), 2) if pair not in near]
        super().__init__(len(bonds) + len(angles), uncertain)
        for name, rows, size in (("bonds", bonds, 2), ("angles", angles, 3), ("others", others, 2)):
            self.register_buffer(name, torch.tensor(rows, dtype=torch.int64).reshape(-1, size), persistent=False)
        self.register_buffer("sigma", torch.zeros(len(others)))
        self._random("log_radius", len(others), uncertain)

    def measure(self, x: Tensor, weight: Tensor) -> None:
        """Take them from flat positions ``(n, 3 beads)`` that count `weight` ``(n,)``."""
        if len(self.mean):
            mean, width = _moments(self._springs(x), weight)
            self.mean.copy_(mean)
            self.width.copy_(width)
        if len(self.sigma):
            distances = self._between(x, "others").sort(0).values
            self.sigma.copy_(distances[len(x) // 100])

    def forward(self, x: Tensor) -> Tensor:
        """Energies ``(n,)`` in kT of flat positions ``(n, 3 beads)``."""
        sigma = self.sigma if self.log_radius is None else self.sigma * self.log_radius.exp()
        return self._stretched(self._springs(x)) + ((sigma / self._between(x, "others")) ** 6).sum(-1)

    def _springs(self, x: Tensor) -> Tensor:
        """Lengths of bonds and cosines of angles, side by side."""
        beads, triples = x.unflatten(-1, (-1, 3)), self.get_buffer("angles")
        left, right = (beads[..., triples[:, k], :] - beads[..., triples[:, 1], :] for k in (0, 2))
        norms = torch.linalg.vector_norm(left, dim=-1) * torch.linalg.vector_norm(right, dim=-1)
        return torch.cat([self._between(x, "bonds"), (left * right).sum(-1) / norms], -1)

    def _between(self, x: Tensor, name: str) -> Tensor:
        beads, pairs = x.unflatten(-1, (-1, 3)), self.get_buffer(name)
        return torch.linalg.vector_norm(beads[..., pairs[:, 0], :] - beads[..., pairs[:, 1], :], dim=-1)


def _moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, 1 where it never varies."""
    share = weight.to(x) / weight.sum()
    mean = share @ x
    width = (share @ (x - mean).square()).sqrt()
    return mean, torch.where(width > 1e-6 * (1 + mean.abs()), width, torch.ones_like(width))
