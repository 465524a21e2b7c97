"""How a collective variable moves in a lag time, by finite volumes."""

import torch
from torch import Tensor

__all__ = ["log_propagator", "rate_matrix"]

_LEAST = 1e-12
_UNEVEN = 1e-8
_STEEPEST = 15.0
"""Of half the change of F from cell to cell, in kT: nobody is seen where it is steeper."""


def rate_matrix(energy: Tensor, diffusion: Tensor, width: float, periodic: bool) -> Tensor:
    r"""Generator of :math:`dz = (-D F' + D') dt + \sqrt{2 D} dW` between cells, as a symmetric matrix ``(..., n, n)``.

    Rates up are :math:`D_{i+1/2} e^{-(F_{i+1} - F_i)/2} / w^2`, in detailed balance with :math:`e^{-F}`; the matrix is
    :math:`\pi^{1/2} Q \pi^{-1/2}`, whose elements beside the diagonal are :math:`D_{i+1/2} / w^2`.

    Parameters
    ----------
    energy : Tensor, (..., n)
        F in the cells, in kT.
    diffusion : Tensor, (..., n - 1), or (..., n) where periodic
        D at the borders of neighbours; the last is that of the last cell and the first.
    width : float
        Of a cell.
    periodic : bool

    References
    ----------
    Hummer, "Position-dependent diffusion coefficients and free energies from Bayesian analysis of equilibrium and
    replica molecular dynamics simulations", New J. Phys. 7, 34 (2005), eq. (13).

    Examples
    --------
    >>> rate_matrix(torch.zeros(3), torch.ones(2), 1.0, False)
    tensor([[-1.,  1.,  0.],
            [ 1., -2.,  1.],
            [ 0.,  1., -1.]])
    """
    n = energy.shape[-1]
    i = torch.arange(n if periodic else n - 1, device=energy.device)
    j = (i + 1) % n
    rate, half = diffusion / width**2, (0.5 * (energy[..., j] - energy[..., i])).clamp(-_STEEPEST, _STEEPEST)
    out = torch.zeros_like(energy).index_add(-1, i, rate * (-half).exp()).index_add(-1, j, rate * half.exp())
    above = torch.diag_embed(rate[..., : n - 1], 1)
    if periodic:
        above = above + torch.diag_embed(rate[..., n - 1 :], n - 1)
    return torch.diag_embed(-out) + above + above.mT


def log_propagator(energy: Tensor, diffusion: Tensor, width: float, periodic: bool, lag: float | Tensor) -> Tensor:
    """Log probabilities ``(..., n, n)`` of the cells after a lag, from each of them; arguments as of `rate_matrix`.

    Those below 1e-12 are that: no digits of smaller ones are left.

    Examples
    --------
    >>> log_propagator(torch.zeros(3), torch.ones(2), 1.0, False, 50.0).exp().round(decimals=3)
    tensor([[0.3330, 0.3330, 0.3330],
            [0.3330, 0.3330, 0.3330],
            [0.3330, 0.3330, 0.3330]])
    """
    matrix = rate_matrix(energy, diffusion, width, periodic)
    if periodic:  # modes that differ by a turn have equal eigenvalues, at which there is no derivative
        uneven = torch.linspace(-1, 1, energy.shape[-1]).to(energy)
        size = _UNEVEN * matrix.diagonal(0, -2, -1).mean(-1, keepdim=True).detach()
        matrix = matrix + torch.diag_embed(size * uneven)
    values, vectors = torch.linalg.eigh(matrix)
    after = (vectors * (lag * values.clamp_max(0.0)).exp()[..., None, :]) @ vectors.mT
    log = after.clamp_min(_LEAST).log() + 0.5 * (energy[..., :, None] - energy[..., None, :])
    return log - torch.logsumexp(log, -1, keepdim=True)
