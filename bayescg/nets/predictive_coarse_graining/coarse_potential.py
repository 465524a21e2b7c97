"""Potentials of a few coarse-grained variables on a lattice: an exponential family with an exact normaliser."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor, nn

from bayescg.arguments import check_counts
from bayescg.errors import ConfigError

__all__ = ["CoarsePotential"]

_TOP = 100.0
"""kT, of the leading term at the ends of the lattice, or more."""


class CoarsePotential(nn.Module):
    r"""Polynomials U(X) of one or two variables that grow in every direction, with their gauge pinned.

    .. math:: U(X) = \sum_i \tfrac1m X_i^m + \sum_{0 < |\alpha| < m} \theta_\alpha \prod_i C_{\alpha_i}(X_i)

    in kT, with m even and :math:`C_k(X) = 2 T_k(X / 2)`, Chebyshev's polynomials of the range from -2 to 2, in which
    wells lie. What an affine map of X would only rename is left out: the leading coefficients are fixed, which pins the
    unit of length, and no power m - 1 of a single variable occurs, which pins the origin. Every :math:`\theta` gives a
    density.

    Parameters
    ----------
    dim : int
        Number of variables, 1 or 2.
    degree : int
        m.
    nodes : int
        Of the lattice, along each variable.

    Attributes
    ----------
    coefficients : Parameter, shape (functions,)
        :math:`\theta`, zero at first.
    powers : list of tuple
        :math:`\alpha` of each.
    axis : Tensor, shape (nodes,)
        Of the lattice, over all places where the leading term is below 100 kT; with 193 or 49 nodes exact in float32.
    lattice : Tensor, shape (nodes ** dim, dim)
        The last variable changes fastest.

    Raises
    ------
    ConfigError
        `dim` or `degree` is out of range, or the lattice has too few nodes.

    Examples
    --------
    >>> potential = CoarsePotential(1)
    >>> potential.powers, potential(torch.tensor([[2.0]]))
    ([(1,), (2,)], tensor([4.], grad_fn=<AddBackward0>))
    """

    axis: Tensor
    lattice: Tensor

    def __init__(self, dim: int, degree: int = 4, nodes: int = 193):
        super().__init__()
        check_counts(dim=(dim, 1), degree=(degree, 4), nodes=(nodes, 20))
        if dim > 2:
            raise ConfigError(f"a lattice of {dim} variables has too many nodes: use latent_dim=1 or latent_dim=2")
        if degree % 2:
            raise ConfigError(f"a polynomial of degree {degree} falls without end on one side: give an even degree")
        self.dim, self.degree = dim, degree
        powers = [a for a in product(range(degree), repeat=dim) if 0 < sum(a) < degree and max(a) < degree - 1]
        self.powers = sorted(powers, key=lambda a: (sum(a), a))
        self.coefficients = nn.Parameter(torch.zeros(len(self.powers)))
        reach = 1.5 * math.ceil((_TOP * degree) ** (1 / degree) / 1.5)
        axis = torch.linspace(-reach, reach, nodes)
        self.register_buffer("axis", axis, persistent=False)
        self.register_buffer("lattice", torch.cartesian_prod(*[axis] * dim).reshape(-1, dim), persistent=False)

    def reset_parameters(self) -> None:
        """Begin with the leading terms alone."""
        nn.init.zeros_(self.coefficients)

    def doubts(self, width: float, share: Tensor) -> list[str]:
        """Whether the nodes are too far apart for variables known up to `width`, or end where there is probability.

        Parameters
        ----------
        width : float
        share : Tensor, (nodes ** dim,)
            Probabilities of the nodes.
        """
        step, doubts = float(self.axis[1] - self.axis[0]), []
        if width < 0.5 * step:
            doubts.append(
                f"a frame tells its coarse variables up to {width:.2g}, and the nodes of their lattice are {step:.2g} "
                f"apart: sums over it are rough, and the likelihood prefers nodes; use more than nodes={len(self.axis)}"
            )
        ends = self.lattice.abs().amax(-1) == self.axis[-1]
        if (beyond := float(share[ends].sum())) > 1e-4:
            doubts.append(f"{beyond:.1%} of the coarse variables lie where their lattice ends: use a higher degree")
        return doubts

    def functions(self, x: Tensor) -> Tensor:
        """Products of Chebyshev polynomials, ``(..., functions)`` of variables ``(..., dim)``."""
        polynomials = [torch.ones_like(x), x]
        for k in range(2, self.degree - 1):
            polynomials.append(x * polynomials[-1] - (2.0 if k == 2 else polynomials[-2]))
        table = torch.stack(polynomials)
        columns = [torch.stack([table[k][..., i] for i, k in enumerate(a)]).prod(0) for a in self.powers]
        return torch.stack(columns, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Energies in kT, ``(...)`` for variables ``(..., dim)``."""
        return (x**self.degree).sum(-1) / self.degree + self.functions(x) @ self.coefficients
