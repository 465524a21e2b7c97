r"""Oscillators that exchange energy: what integrators are tried on, with dynamics rather than equilibrium in mind."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bayescg.arguments import check_counts, check_numbers
from bayescg.errors import ConfigError
from bayescg.systems.core import System

__all__ = ["FermiPastaUlam", "HenonHeiles"]


class HenonHeiles(System):
    r"""A star in a galaxy, :math:`U = (x^2 + y^2) / 2 + x^2 y - y^3 / 3`, with mass 1.

    Orbits of energies below 1/6 stay in a triangle of corners (0, 1) and :math:`(\pm\sqrt 3 / 2, -1/2)`; above 1/12
    more and more of them are chaotic. U has no lower bound outside, so that there is no equilibrium: `shell` draws
    states.

    Parameters
    ----------
    temperature_kT : float

    References
    ----------
    Hénon, Heiles, "The applicability of the third integral of motion", Astron. J. 69, 73 (1964).

    Examples
    --------
    >>> HenonHeiles().energy(torch.tensor([0.0, 1.0]))  # the height of a saddle
    tensor(0.1667)
    """

    def __init__(self, temperature_kT: float = 0.05):
        super().__init__(_henon_heiles, 2, temperature_kT=temperature_kT)

    def shell(self, n: int, energies: tuple[float, float] = (0.005, 0.13), seed: int = 0) -> tuple[Tensor, Tensor]:
        """States whose total energies lie between two, uniform in phase space: positions and momenta, each ``(n, 2)``.

        Parameters
        ----------
        n : int
        energies : (float, float)
            Below 1/6, unless orbits may escape.
        seed : int

        Raises
        ------
        ConfigError
            The energies are not in order, or `n` is no count.

        Examples
        --------
        >>> q, p = HenonHeiles().shell(5)
        >>> q.shape, bool((HenonHeiles().energy(q) + 0.5 * p.square().sum(-1) < 0.13).all())
        (torch.Size([5, 2]), True)
        """
        low, high = energies
        check_counts(n=(n, 1), seed=(seed, 0))
        check_numbers(low=(low, "[0, inf)"), high=(high, f"({low}, inf)"))
        generator = torch.Generator().manual_seed(seed)
        corners, reach = torch.tensor([3**0.5 / 2, 1.0], dtype=torch.float64), (2 * high) ** 0.5
        states, count = [], 0
        while count < n:
            q, p = (2 * torch.rand(2, 4096, 2, generator=generator, dtype=torch.float64) - 1).unbind()
            q, p = q * corners, p * reach
            total = self.energy(q) + 0.5 * p.square().sum(-1)
            inside = (q[:, 1] > -0.5) & (q[:, 1] < 1 - 3**0.5 * q[:, 0].abs())
            states.append(torch.cat([q, p], 1)[inside & (total > low) & (total < high)])
            count += len(states[-1])
        q, p = torch.cat(states)[:n].chunk(2, 1)
        return q, p


class FermiPastaUlam(System):
    r"""Unequal masses on a line between two walls, :math:`U = \sum_i r_i^2/2 + \alpha r_i^3/3 + \beta r_i^4/4`.

    Here :math:`r_i = x_{i + 1} - x_i` are the stretches of springs, the first and last of them to a wall. With
    :math:`\alpha = \beta = 0` it is a harmonic chain. Time averages of :math:`p_i^2 / m_i` are all kT: equipartition.

    Parameters
    ----------
    masses : sequence of float
    alpha, beta : float
        With :math:`\beta > 2 \alpha^2 / 9` every spring has its minimum at rest.
    temperature_kT : float

    References
    ----------
    Fermi, Pasta, Ulam, Tsingou, "Studies of nonlinear problems", Los Alamos report LA-1940 (1955).

    Examples
    --------
    >>> FermiPastaUlam((1.0, 2.0), alpha=0.0, beta=0.0).energy(torch.tensor([1.0, 0.0]))
    tensor(1.)
    """

    def __init__(
        self,
        masses: Sequence[float] = (1.0, 2.0, 4.0, 8.0),
        alpha: float = 0.25,
        beta: float = 0.25,
        temperature_kT: float = 0.3,
    ):
        check_numbers(alpha=(alpha, "(-inf, inf)"), beta=(beta, "[0, inf)"))
        if alpha and beta <= 2 * alpha**2 / 9:
            raise ConfigError(f"beta={beta:g} must be above 2 alpha^2 / 9 = {2 * alpha**2 / 9:.3g}, or springs break")
        self.alpha, self.beta = float(alpha), float(beta)

        def energy(x: Tensor) -> Tensor:
            r = torch.nn.functional.pad(x, (1, 1)).diff(dim=-1)
            return (r**2 / 2 + alpha * r**3 / 3 + beta * r**4 / 4).sum(-1)

        super().__init__(energy, len(masses), temperature_kT=temperature_kT, masses=masses)


def _henon_heiles(x: Tensor) -> Tensor:
    return 0.5 * x.square().sum(-1) + x[..., 0] ** 2 * x[..., 1] - x[..., 1] ** 3 / 3
