"""Functions of positions and momenta of particles that neither place, nor direction, nor order changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import grad, jacrev, vmap

from bayescg.errors import ConfigError
from bayescg.nets.invariant.smooth import check_apart, smooth_cutoff

__all__ = ["ParticleFunctions", "alike", "check_alike"]

_TOGETHER = 64
"""Particles whose slopes are computed at once, in many states: memory grows with it."""
_MEASURED = 30
"""States that sizes are measured in."""


def alike(masses: Tensor) -> list[str]:
    """Kinds of particles, those of one mass, of the masses ``(dim,)`` of coordinates.

    Examples
    --------
    >>> alike(torch.tensor([1.0, 1.0, 1.0, 16.0, 16.0, 16.0]))
    ['1', '16']
    """
    return [f"{float(mass):.5g}" for mass in masses[::3]]


def check_alike(trained: Sequence[str], others: Sequence[str]) -> None:
    """Whether there are the same kinds of particles, of some number.

    Raises
    ------
    ConfigError
        There are others than a map was trained on.
    """
    here, there = (", ".join(sorted(set(kinds))) for kinds in (trained, others))
    if here != there:
        raise ConfigError(
            f"this map was trained on particles of kinds (masses) {here}, and the system's have {there}: train one on "
            "such particles"
        )


class ParticleFunctions(nn.Module):
    r"""Sums over particles and pairs, of which the action S of pair potentials consists in each order of the step h.

    They are even in the momenta, add up where groups are out of each other's reach, and are of any number of particles
    of the kinds they know. With distances r, directions n, :math:`e = r_0 n / r`, velocities v, of pairs their
    differences u, and powers :math:`g_a = (r_0/r)^{3a}`, faded smoothly to zero at the cutoff where there is one, they
    are

    * without an energy, for all of S: :math:`\sum_{ij} g_a \{1, (e \cdot u)^2, |e|^2 u^2\}` and
      :math:`\sum_i F_{ia} \cdot F_{ib} / m_i` of the vectors :math:`F_{ia} = \sum_j g_a e_{ij}`. The first two orders,
      :math:`h H + \tfrac{h^3}{24} (\nabla U^T m^{-1} \nabla U + v^T U'' v)`, are exactly among them, but for the
      kinetic energy, for all :math:`U = \sum_{ij} \sum_a c_a g_a`;
    * with one, for what is beyond these two orders: with accelerations :math:`a = -m^{-1} \nabla U`, of pairs their
      differences :math:`\alpha`, and :math:`b = m^{-1} U'' v`, the order :math:`h^5` consists of
      :math:`U''[a, a]`, :math:`\sum_i m_i b_i^2`, :math:`U'''[v, v, a]` and :math:`U''''[v, v, v, v]`: the second, and
      for the others :math:`\sum_{ij} g_a` times the products of :math:`e \cdot u`, :math:`|e|^2 u^2`,
      :math:`e \cdot \alpha`, :math:`|e|^2 \alpha^2` and :math:`|e|^2 u \cdot \alpha` of degree four, accelerations
      counted twice.

    Parameters
    ----------
    kinds : sequence of str
        Of each particle: those with the same name are alike.
    radial : int
        Number of powers.
    cutoff : float, optional
        In units of :math:`r_0`, the distance of nearest neighbours.
    energy : callable, optional
        U, from flat positions ``(n, dim)`` to ``(n,)``.
    masses : Tensor, (dim,), optional
        Of the coordinates; default: 1.

    Attributes
    ----------
    size : int
        Number of functions.
    masses : Tensor, (atoms,)
    length : Tensor
        :math:`r_0`.
    units : Tensor, (size,)
        Of the functions, which are divided by them.
    near : float
        A cutoff that suits where forces are known.
    reads_scaled : bool
        As of :class:`bayescg.nets.RandomWaves`.

    Raises
    ------
    ConfigError
        There are not three masses for each particle.

    References
    ----------
    Elementary Hamiltonians, of which modified energies consist: Hairer, Lubich, Wanner, "Geometric numerical
    integration" (2006), section IX.9.2.

    Examples
    --------
    >>> functions = ParticleFunctions(["Ar"] * 5, radial=4)
    >>> q, p = torch.randn(2, 7, 15, dtype=torch.float64)
    >>> functions(q, p).shape, bool((functions(q, -p) == functions(q, p)).all())
    (torch.Size([7, 22]), True)
    """

    near: ClassVar[float] = 1.55
    reads_scaled = False
    masses: Tensor
    length: Tensor
    units: Tensor

    def __init__(
        self,
        kinds: Sequence[str],
        radial: int = 6,
        cutoff: float | None = None,
        energy: Callable[[Tensor], Tensor] | None = None,
        masses: Tensor | None = None,
    ):
        super().__init__()
        if masses is not None and len(masses) != 3 * len(kinds):
            raise ConfigError(
                f"form='particles' is of particles in space: {len(masses)} coordinates are not those of {len(kinds)}"
            )
        self.radial, self.cutoff, self.energy = radial, cutoff, energy
        names = sorted(set(kinds))
        number = torch.tensor([names.index(kind) for kind in kinds])
        self.i, self.j = torch.triu_indices(len(kinds), len(kinds), 1)
        unlike = torch.combinations(torch.arange(len(names)), with_replacement=True)
        pair = torch.stack([number[self.i], number[self.j]], 1).sort(1).values
        self.of_kind = nn.functional.one_hot(number, len(names)).double()
        self.of_pair = (pair[:, None] == unlike).all(-1).double()
        channels = radial * len(names)
        self.upper = torch.triu_indices(channels, channels)
        if energy is None:
            self.size = 3 * radial * len(unlike) + len(names) * len(self.upper[0])
        else:
            self.size = 8 * radial * len(unlike) + 1
        self.register_buffer("masses", torch.ones(len(kinds), dtype=torch.float64))
        if masses is not None:
            self.masses.copy_(masses[::3])
        self.register_buffer("length", torch.ones((), dtype=torch.float64))
        self.register_buffer("units", torch.ones(self.size, dtype=torch.float64))

    def measure(
        self, q: Tensor, p: Tensor, later_q: Tensor, later_p: Tensor, scales: Tensor, masses: Tensor | None = None
    ) -> None:
        """Take the distance of neighbours, and slopes of size one, in units of ``(2 dim,)``, midway between states.

        Where they are given, the masses ``(dim,)`` of coordinates first.

        Raises
        ------
        DataError
            Two particles are in one place.
        """
        if masses is not None:
            self.masses.copy_(masses[::3])
        check_apart(q.unflatten(-1, (-1, 3)), range(len(q)))
        some = torch.linspace(0, len(q) - 1, min(len(q), _MEASURED), dtype=torch.float64).long()
        q, p = (q + later_q)[some] / 2, (p + later_p)[some] / 2
        x = q.unflatten(-1, (-1, 3))
        distances = torch.cdist(x, x) + torch.diag(torch.full_like(x[0, :, 0], torch.inf))
        self.length.copy_(distances.amin(-1).median())
        self.units.fill_(1.0)
        slopes = torch.cat(self.slopes(q, p)[::-1], -1) / scales
        root = slopes.square().mean((0, 2)).sqrt()
        self.units.copy_(torch.where(root > 0, root, 1.0))

    def forward(self, q: Tensor, p: Tensor) -> Tensor:
        """Values ``(n, size)`` at flat positions and momenta ``(n, dim)``."""
        mass = self.masses[:, None]
        v = p.unflatten(-1, (-1, 3)) / mass
        away = self._between(q.unflatten(-1, (-1, 3)))
        r = away.square().sum(-1).sqrt()
        inverse = self.length / r
        e, u = away * (inverse / r)[..., None], self._between(v)
        powers = inverse[..., None] ** (3 * torch.arange(1, self.radial + 1))
        if self.cutoff is not None:
            powers = powers * smooth_cutoff(r / self.length, self.cutoff)[..., None]
        along, square = (e * u).sum(-1).square(), inverse.square() * u.square().sum(-1)
        if self.energy is None:
            terms, rest = [torch.ones_like(r), along, square], self._products(powers, e)
        else:
            a, b = self._accelerations(q, v)
            pull = self._between(a)
            towards, slanted = (e * pull).sum(-1), (e * u).sum(-1) * inverse.square() * (u * pull).sum(-1)
            terms = [along.square(), along * square, square.square(), along * towards, square * towards, slanted,
                     towards.square(), inverse.square() * pull.square().sum(-1)]  # fmt: skip
            rest = (mass * b.square()).sum((-2, -1))[:, None]
        sums = torch.einsum("nrk,nrt,rc->nktc", powers, torch.stack(terms, -1), self.of_pair.to(q))
        return torch.cat([sums.flatten(1), rest], 1) / self.units

    def slopes(self, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives of each by positions and by momenta, ``(n, size, dim)``."""

        def values(q: Tensor, p: Tensor) -> Tensor:
            return self(q[None], p[None])[0]

        some = max(1, _TOGETHER // len(self.masses))
        derivative = vmap(jacrev(values, argnums=(0, 1)))
        parts = [derivative(*both) for both in zip(q.split(some), p.split(some), strict=True)]
        along_q, along_p = (torch.cat(part) for part in zip(*parts, strict=True))
        return along_q, along_p

    def _between(self, x: Tensor) -> Tensor:
        return x[..., self.j, :] - x[..., self.i, :]

    def _accelerations(self, q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Those, and their change along the velocities, ``(n, atoms, 3)``."""
        assert self.energy is not None
        energy, speed = self.energy, v.flatten(1)
        slope = grad(lambda x: energy(x).sum())
        curved = grad(lambda x: (slope(x) * speed).sum())(q)
        a, b = (-x.unflatten(-1, (-1, 3)) / self.masses[:, None] for x in (slope(q), curved))
        return a, b

    def _products(self, powers: Tensor, e: Tensor) -> Tensor:
        """Of the vectors at each particle, ``(n, kinds x products)``."""
        each = powers[..., None] * e[..., None, :]
        of_kind = self.of_kind.to(e)
        f = e.new_zeros(len(e), len(self.masses), of_kind.shape[1], self.radial, 3)
        for here, there, sign in ((self.i, self.j, 1.0), (self.j, self.i, -1.0)):
            f = f.index_add(1, here, sign * of_kind[there][:, :, None, None] * each[:, :, None])
        f = f.flatten(2, 3)
        products = torch.einsum("nisx,nitx,iz->nzst", f, f, of_kind / self.masses[:, None])
        return products[..., self.upper[0], self.upper[1]].flatten(1)
