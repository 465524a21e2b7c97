"""Slow combinations of functions: a small eigenproblem that can be solved in every step of a training."""

import torch
from torch import Tensor, nn

__all__ = ["RitzModes"]


class RitzModes(nn.Module):
    r"""Solutions of :math:`A c = \lambda B c`, and a place to keep those for all frames.

    Each function is taken to have a little noise of its own, which decays at a hundred times `rate`. Without it a
    function that sets a few rare frames of a batch apart is the slowest there, as no frame lies between, whatever it is
    elsewhere; of functions of order one, one that is different in one frame of 10 000 is not above the noise. It also
    keeps functions that depend on each other, or hardly vary, from passing for slow ones by rounding.

    Parameters
    ----------
    functions, modes : int

    Attributes
    ----------
    rate : Tensor
        A typical eigenvalue, which gives the noise its unit.
    values : Tensor, shape (modes,)
        Rayleigh quotients of the modes over the frames that they were kept for.
    """

    rate: Tensor
    centre: Tensor
    coefficients: Tensor
    values: Tensor

    noise = 1e-4
    decay = 100.0

    def __init__(self, functions: int, modes: int):
        super().__init__()
        self.modes = modes
        self.register_buffer("rate", torch.ones(()))
        self.register_buffer("centre", torch.zeros(functions))
        self.register_buffer("coefficients", torch.eye(functions)[:, :modes].clone())
        self.register_buffer("values", torch.zeros(modes))

    def solve(self, a: Tensor, b: Tensor) -> Tensor:
        """Coefficients (functions, modes) of the slowest, of unit variance; solved in double precision."""
        with torch.no_grad():
            noise = self.noise * torch.eye(len(a), dtype=torch.float64, device=a.device)
            lower = torch.linalg.cholesky(b.double() + noise)
            half = torch.linalg.solve_triangular(lower, a.double() + self.decay * self.rate * noise, upper=False)
            whitened = torch.linalg.solve_triangular(lower, half.mT, upper=False)
            vectors = torch.linalg.eigh(0.5 * (whitened + whitened.mT))[1][:, : self.modes]
            return torch.linalg.solve_triangular(lower.mT, vectors, upper=True).to(self.rate)

    def quotients(self, energy: Tensor, variance: Tensor, c: Tensor) -> Tensor:
        """Rayleigh quotients (modes,) with the noise: eigenvalues of `solve` at its solutions.

        Parameters
        ----------
        energy, variance : Tensor, shape (modes,)
            Of the modes.
        c : Tensor, shape (functions, modes)
            Their coefficients.
        """
        noise = self.noise * c.square().sum(0)
        return (energy + self.decay * self.rate * noise) / (variance + noise)

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
        c = c / (c * (b.to(c) @ c)).sum(0).sqrt()  # without the noise
        slope = tilt.to(c) @ c
        sign = slope.gather(0, slope.abs().argmax(0, keepdim=True)).sign()
        self.coefficients.copy_(c * torch.where(sign == 0, 1.0, sign))
        self.centre.copy_(centre)
        self.values.copy_((c * (a.to(c) @ c)).sum(0))

    def forward(self, values: Tensor) -> Tensor:
        """Modes (n, modes) of function values (n, functions)."""
        return (values - self.centre) @ self.coefficients
