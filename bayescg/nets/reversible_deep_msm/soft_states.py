"""Soft states: probabilities of a few states, which start as the clusters of a conventional Markov state model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bayescg.nets.mlp import MLP

__all__ = ["SoftStates"]


class SoftStates(nn.Module):
    """Logits of states: an affine map of whitened inputs, plus a network.

    A softmax whose states all start alike ends with some that no frame belongs to. The affine map therefore starts from
    `begin`, as the Voronoi cells of k-means clusters in slow coordinates, and `reset_parameters` goes back there.

    Parameters
    ----------
    inputs, states : int
    hidden : sequence of int
        Widths of the network's hidden layers.

    Examples
    --------
    >>> x = torch.cumsum(torch.randn(500, 2), 0)
    >>> states = SoftStates(2, 3)
    >>> states.begin(x[:-1], x[1:])
    >>> bool((states(x).softmax(-1).mean(0) > 0.02).all())
    True

    References
    ----------
    Slow coordinates scaled by their autocorrelation: F. Noé, C. Clementi, J. Chem. Theory Comput. 11, 5002 (2015).
    """

    start: Tensor

    def __init__(self, inputs: int, states: int, hidden: Sequence[int] = (32, 32)):
        super().__init__()
        self.net = MLP(inputs, states, hidden)
        self.register_buffer("start", torch.zeros(states, inputs + 1))
        self.affine = nn.Parameter(torch.zeros(states, inputs + 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, states)`` of inputs ``(n, inputs)``."""
        return torch.nn.functional.linear(x, self.affine[:, :-1], self.affine[:, -1]) + self.net(x)

    def begin(self, x: Tensor, y: Tensor, seed: int = 0) -> None:
        """Take clusters from both ends of lagged pairs, whitened, each ``(n, inputs)``."""
        from scipy.cluster.vq import ClusterError, kmeans2

        now, later = (v.detach().double().cpu().numpy() for v in (x, y))
        correlation = (now.T @ later + later.T @ now) / (2 * len(now))
        values, axes = np.linalg.eigh(correlation)
        slow = axes * (values.clip(0.0) if values.max() > 0 else 1.0)  # of trajectories begun at one point, none is
        t, states = now @ slow, len(self.start)
        try:
            centres, cell = kmeans2(t, states, minit="++", rng=np.random.default_rng(seed), missing="raise")
        except (ClusterError, ValueError):  # fewer different frames than states
            centres, cell = np.zeros((states, t.shape[1])), np.zeros(len(t), dtype=int)
        # cells that overlap: what is hard at first takes long to soften
        width = max(2.0 * np.square(t - centres[cell]).sum(1).mean(), 1e-6)
        affine = np.c_[centres @ slow.T, -0.5 * np.square(centres).sum(1)] / width
        self.start.copy_(torch.as_tensor(affine))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Put the affine map back where it began."""
        with torch.no_grad():
            self.affine.copy_(self.start)
