"""Energies that are put in beforehand, and keep a learned potential to where there are data."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

__all__ = ["BondedEnergy", "HarmonicEnergy"]


class HarmonicEnergy(nn.Module):
    r"""Springs around the means of flat coordinates; in kT.

    .. math:: \frac12 \sum_i (x_i - \bar x_i)^2 / \mathrm{Var}\, x_i

    Examples
    --------
    >>> energy = HarmonicEnergy(1)
    >>> energy.measure(torch.tensor([[0.0], [2.0]]), torch.ones(2))
    >>> energy(torch.tensor([[3.0]]))
    tensor([2.])
    """

    mean: Tensor
    width: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("width", torch.ones(dim))

    def measure(self, x: Tensor, weight: Tensor) -> None:
        """Take means and variances of coordinates ``(n, dim)`` that count `weight` ``(n,)``."""
        mean, width = _moments(x, weight)
        self.mean.copy_(mean)
        self.width.copy_(width)

    def forward(self, x: Tensor) -> Tensor:
        """Energies ``(n,)`` in kT of ``(n, dim)``."""
        return 0.5 * ((x - self.mean) / self.width).square().sum(-1)


class BondedEnergy(nn.Module):
    r"""Springs of bonds and angles, and a repulsion of all beads that are further apart along the bonds; in kT.

    .. math:: \frac12 \sum_b (d_b - \bar d_b)^2 / \mathrm{Var}\, d_b
              + \frac12 \sum_a (c_a - \bar c_a)^2 / \mathrm{Var}\, c_a + \sum_p (\sigma_p / d_p)^6

    with distances d and cosines c of angles. Means and variances are those of the frames, and :math:`\sigma_p`, where
    the repulsion is 1 kT, the shortest hundredth of the distances. Chains are held together, and apart.

    Parameters
    ----------
    beads : int
        Number of beads.
    bonds : sequence of (int, int)
        Between neighbours; may be empty.

    References
    ----------
    Wang et al., ACS Cent. Sci. 5, 755 (2019), section on prior energies.
    """

    mean: Tensor
    width: Tensor
    sigma: Tensor

    def __init__(self, beads: int, bonds: Sequence[tuple[int, int]]):
        super().__init__()
        bonds = sorted({(min(pair), max(pair)) for pair in bonds})
        around = [sorted(a + b - i for a, b in bonds if i in (a, b)) for i in range(beads)]
        angles = [(a, i, b) for i, ends in enumerate(around) for a, b in combinations(ends, 2)]
        near = {*bonds, *((a, b) for a, _, b in angles)}
        others = [pair for pair in combinations(range(beads), 2) if pair not in near]
        for name, rows, size in (("bonds", bonds, 2), ("angles", angles, 3), ("others", others, 2)):
            self.register_buffer(name, torch.tensor(rows, dtype=torch.int64).reshape(-1, size), persistent=False)
        self.register_buffer("mean", torch.zeros(len(bonds) + len(angles)))
        self.register_buffer("width", torch.ones(len(bonds) + len(angles)))
        self.register_buffer("sigma", torch.zeros(len(others)))

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
        springs = 0.5 * ((self._springs(x) - self.mean) / self.width).square().sum(-1)
        return springs + ((self.sigma / self._between(x, "others")) ** 6).sum(-1)

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
