"""Functions whose energies, the Dirichlet forms of diffusion, can be summed over frames beside their covariances."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vjp

from bayescg.nets.generator_eigenfunctions.tangents import TangentMLP

__all__ = ["DirichletForms"]

Parts = tuple[Tensor, Tensor | None, Tensor]
"""Inputs of some frames, their diffusion where it varies, and weights of any sum."""

_CHUNK = 512  # frames whose derivatives stay within the cache


class DirichletForms(nn.Module):
    r"""A net of functions :math:`\chi` with :math:`E[\nabla\chi_i \cdot D \nabla\chi_j]` and covariances over frames.

    Parameters
    ----------
    inputs : int
    hidden : sequence of int
        Widths of the layers; the last one is the number of functions, unless there are `outputs`.
    outputs : int, optional

    Attributes
    ----------
    net : TangentMLP
    directions : Tensor, shape (inputs, inputs)
        Rows are what a square root of the diffusion is in the net's inputs, where that is constant.
    """

    directions: Tensor

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int | None = None):
        super().__init__()
        self.net = TangentMLP(inputs, hidden, outputs)
        self.register_buffer("directions", torch.eye(inputs))

    def forward(self, y: Tensor) -> Tensor:
        """Functions ``(..., functions)`` at ``(..., inputs)``."""
        return self.net(y)

    def norms(self) -> Tensor:
        """Of the first layer's weights of each input, ``(inputs,)``."""
        return (self.net.layers[0].weight.square().sum(0) + 1e-8).sqrt()

    def of(self, y: Tensor, metric: Tensor | None, w: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        r"""Energies and covariance of combinations :math:`f = c^T \chi`, differentiable.

        Parameters
        ----------
        y : Tensor, shape (n, inputs)
        metric : Tensor, shape (n, inputs, inputs), or None
            Diffusion of the inputs where it varies.
        w : Tensor, shape (n,)
            Weights of the frames, of sum one.
        c : Tensor, shape (functions, k)

        Returns
        -------
        energies : Tensor, shape (k,)
        covariance : Tensor, shape (k, k)
        """
        values, pull = vjp(self.net.tail, self.net.layers[0](y))[:2]
        entering = self.net.entering(self.directions)
        along = torch.stack([pull(column.expand_as(values))[0] for column in c.T], 1) @ entering.T
        moved = along if metric is None else along @ metric
        f = (values - w @ values) @ c
        return torch.einsum("n,nki,nki->k", w, along, moved), f.T @ (w[:, None] * f)

    @torch.no_grad()
    def sums(self, y: Tensor, metric: Tensor | None, w: Tensor, shift: Tensor | None = None) -> tuple[Tensor, ...]:
        """Sums over frames of all functions, in double precision; arguments as of `of`.

        Parameters
        ----------
        shift : Tensor, shape (functions,), optional
            Taken off the functions. Without it that is the mean, and the second moment the covariance.

        Returns
        -------
        energies, second : Tensor, shape (functions, functions)
        first : Tensor, shape (functions,)
        tilt : Tensor, shape (inputs, functions)
            Moments with the inputs.
        """
        entering = self.net.fewest(self.directions) if metric is None else self.net.entering(self.directions)
        parts = []
        for i in torch.arange(len(y), device=y.device).split(_CHUNK):
            values, slopes = self.net.carried(y[i], entering)
            slopes = slopes * w[i].sqrt()[:, None, None]
            moved = slopes if metric is None else metric[i] @ slopes
            parts.append((values, slopes.flatten(0, 1).T @ moved.flatten(0, 1)))
        away, energies = torch.cat([v for v, _ in parts]).double(), torch.stack([a for _, a in parts]).sum(0)
        w = w.double()  # rounding would give combinations a negative variance
        away = away - (w @ away if shift is None else shift)
        weighted = w[:, None] * away
        return energies.double(), weighted.T @ away, weighted.sum(0), y.double().T @ weighted

    @torch.no_grad()
    def averages(self, read: Callable[[np.ndarray], Parts], index: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Energies, covariance and means of the functions, and their moments with the inputs, over many frames.

        Parameters
        ----------
        read : callable
            What `Parts` says of frames by number.
        index : ndarray
            Which frames.
        """
        shift, total, sums = torch.zeros(()), 0.0, []
        for part in np.split(index, range(4096, len(index), 4096)):
            y, metric, w = read(part)
            shift = shift if sums else self(y).double().mean(0)
            total += float(w.sum())
            sums.append(self.sums(y, metric, w.to(y), shift))
        a, second, first, tilt = (torch.stack(s).sum(0) / total for s in zip(*sums, strict=True))
        return a, second - first[:, None] * first, first + shift, tilt
