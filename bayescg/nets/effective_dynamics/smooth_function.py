"""A function of one variable with a prior that it is smooth: cubic B-splines."""

import torch
from torch import Tensor, nn

from bayescg.arguments import check_counts

__all__ = ["SmoothFunction"]

_WIDE = 10.0


class SmoothFunction(nn.Module):
    r"""Cubic B-splines, :math:`f(z) = \sum_k c_k B((z - t_k) / h)`, whose r-th derivative is noise a priori.

    The r-th differences of the coefficients, of a variable from 0 to 1, have a standard deviation of
    :math:`s\, h^{r - 1/2}`: that of an r - 1 times integrated random walk, whatever the number of knots. What such
    differences leave open, polynomials of lower degree (of a periodic function a constant), has one of 10. The
    parameters are the coefficients in units of that prior, each N(0, 1).

    Parameters
    ----------
    knots : int
        At least 6.
    order : int
        r.
    roughness : float
        s.
    periodic : bool
    constant : bool
        Whether a constant may be added.

    Attributes
    ----------
    weight : Parameter

    References
    ----------
    Lang, Brezger, "Bayesian P-splines", J. Comput. Graph. Stat. 13, 183 (2004).

    Examples
    --------
    >>> f = SmoothFunction(10, order=2, roughness=1.0)
    >>> f(torch.linspace(0, 1, 5).double()).shape, len(f.weight)
    (torch.Size([5]), 10)
    """

    turn: Tensor

    def __init__(self, knots: int, order: int, roughness: float, periodic: bool = False, constant: bool = True):
        super().__init__()
        check_counts(knots=(knots, 6))
        self.knots, self.periodic = knots, periodic
        eye = torch.eye(knots, dtype=torch.float64)
        differences = eye
        for _ in range(order):
            differences = (differences.roll(-1, 0) - differences) if periodic else differences[1:] - differences[:-1]
        square, turn = torch.linalg.eigh(differences.T @ differences)
        step = 1 / (knots if periodic else knots - 3)
        free = 1 if periodic else order
        sd = roughness * step ** (order - 0.5) / square.clamp_min(1e-30).sqrt()
        sd[:free] = _WIDE
        turn[:, :free] = self._polynomials(free)
        self.register_buffer("turn", (turn * sd)[:, 0 if constant else 1 :])
        self.weight = nn.Parameter(torch.zeros(self.turn.shape[1], dtype=torch.float64))

    def _polynomials(self, count: int) -> Tensor:
        """Orthonormal, of ascending degree, ``(knots, count)``: the first is constant."""
        powers = torch.linspace(-1, 1, self.knots, dtype=torch.float64)[:, None] ** torch.arange(count)
        return torch.linalg.qr(powers)[0] * self.knots**0.5

    def reset_parameters(self) -> None:
        """Begin at zero."""
        nn.init.zeros_(self.weight)

    def basis(self, z: Tensor) -> Tensor:
        """The functions that the parameters are of, at places ``(n,)`` from 0 to 1, ``(n, parameters)``."""
        count = self.knots if self.periodic else self.knots - 3
        t = z[:, None] * count + (0 if self.periodic else 1) - torch.arange(self.knots, device=z.device)
        if self.periodic:
            t = (t + self.knots / 2) % self.knots - self.knots / 2
        t = t.abs()
        splines = (2.0 - t).clamp_min(0.0) ** 3 / 6.0 - 2.0 / 3.0 * (1.0 - t).clamp_min(0.0) ** 3
        return splines @ self.turn.to(z)

    def of_histogram(self, counts: Tensor) -> Tensor:
        """Parameters ``(parameters,)`` of minus the logarithm of counts ``(n,)`` in places side by side, smoothed."""
        share = counts / counts.mean() + 0.01
        design = self.basis((torch.arange(len(counts)).to(counts) + 0.5) / len(counts))
        design = torch.cat([torch.ones_like(counts)[:, None], design], 1) * share.sqrt()[:, None]
        ridge = torch.eye(design.shape[1]).to(design)
        ridge[0, 0] = 0.0
        aim = design.T @ (-share.log() * share.sqrt())
        return torch.linalg.solve(design.T @ design + ridge, aim)[1:].detach()

    def forward(self, z: Tensor) -> Tensor:
        """Values ``(n,)`` at places ``(n,)`` from 0 to 1."""
        return self.basis(z) @ self.weight
