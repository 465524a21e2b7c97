"""Slow combinations of functions: a small eigenproblem that can be solved in every step of a training."""

import torch
from torch import Tensor, nn

__all__ = ["RitzModes"]


class RitzModes(nn.Module):
    r"""Solutions of :math:`A c = \lambda B c`, and a place to keep those for all frames.

    A ridge keeps functions that nearly depend on each other from passing for slow ones by rounding. It is that of a
    little noise in each function, a part of 1e-7 of its variance, which decays at a hundred times `rate`. A function
    that is constant but for rounding is left out.

    Parameters
    ----------
    functions, modes : int

    Attributes
    ----------
    rate : Tensor
        A typical eigenvalue, which gives the ridge its unit.
    """

    rate: Tensor
    centre: Tensor
    coefficients: Tensor

    ridge = 1e-5
    least = 1e-11  # of the largest variance

    def __init__(self, functions: int, modes: int):
        super().__init__()
        self.modes = modes
        self.register_buffer("rate", torch.ones(()))
        self.register_buffer("centre", torch.zeros(functions))
        self.register_buffer("coefficients", torch.eye(functions)[:, :modes].clone())

    def solve(self, a: Tensor, b: Tensor) -> Tensor:
        """Coefficients (functions, modes) of the slowest, of unit variance; solved in double precision."""
        with torch.no_grad():
            variance = b.diagonal().double()
            alive = variance > self.least * variance.max()
            width = torch.where(alive, variance, 1.0).rsqrt() * alive
            a, b = (m.double() * width * width[:, None] for m in (a, b))
            unit = torch.eye(len(a), dtype=a.dtype, device=a.device)
            lower = torch.linalg.cholesky(b + 0.01 * self.ridge * unit)
            half = torch.linalg.solve_triangular(lower, a + self.ridge * self.rate.double() * unit, upper=False)
            whitened = torch.linalg.solve_triangular(lower, half.mT, upper=False)
            vectors = torch.linalg.eigh(0.5 * (whitened + whitened.mT))[1][:, : self.modes]
            return (torch.linalg.solve_triangular(lower.mT, vectors, upper=True) * width[:, None]).to(self.rate)

    def quotients(self, energy: Tensor, variance: Tensor, spread: Tensor) -> Tensor:
        """Rayleigh quotients (modes,) with the ridge: eigenvalues of `solve` at its solutions.

        Parameters
        ----------
        energy, variance : Tensor, shape (modes,)
            Of the modes.
        spread : Tensor, shape (modes,)
            Sums over the functions of their squared coefficients times their variances.
        """
        return (energy + self.ridge * self.rate * spread) / (variance + 0.01 * self.ridge * spread)

    def keep(self, a: Tensor, b: Tensor, centre: Tensor, tilt: Tensor) -> None:
        """Solve and keep what `forward` needs; each mode increases with the input that it varies with most.

        Parameters
        ----------
        a, b : Tensor, shape (functions, functions)
        centre : Tensor, shape (functions,)
            Means of the functions.
        tilt : Tensor, shape (inputs, functions)
            Covariances with the inputs.
        """
        c = self.solve(a, b)
        slope = tilt.to(c) @ c
        sign = slope.gather(0, slope.abs().argmax(0, keepdim=True)).sign()
        self.coefficients.copy_(c * torch.where(sign == 0, 1.0, sign))
        self.centre.copy_(centre)

    def forward(self, values: Tensor) -> Tensor:
        """Modes (n, modes) of function values (n, functions)."""
        return (values - self.centre) @ self.coefficients
