"""Where the search for hidden states begins: clusters of what was observed around each time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["cell_coordinates", "first_states"]

_MOST_COORDINATES = 8


def cell_coordinates(x: Tensor, cells: int) -> Tensor:
    """Coordinates (n, length, d) of the cells ``(n, length, 1)`` in which those that lead to each other are close.

    Eigenvectors of the transitions between cells, each times its eigenvalue; NaN where `x` is.

    Examples
    --------
    >>> cell_coordinates(torch.tensor([[[0.0], [0.0], [1.0], [1.0], [torch.nan]]]), 2).shape
    torch.Size([1, 5, 2])
    """
    present = ~(x[:, 1:, 0].isnan() | x[:, :-1, 0].isnan())
    now, later = (end[..., 0][present].long() for end in (x[:, :-1], x[:, 1:]))
    counts = torch.zeros(cells * cells, dtype=torch.float64)
    counts.index_add_(0, now * cells + later, torch.ones(len(now), dtype=torch.float64))
    counts = counts.reshape(cells, cells)
    counts = counts + counts.T
    root = counts.sum(1).clamp_min(1.0).sqrt()
    values, axes = torch.linalg.eigh(counts / root / root[:, None])
    place = (axes / root[:, None] * values.abs()).flip(1)[:, :_MOST_COORDINATES] * root.square().sum().sqrt()
    missing = x.isnan()
    return torch.where(missing, torch.nan, place[torch.where(missing, 0.0, x)[..., 0].long()])


def first_states(coordinates: Tensor, states: int, window: int, seed: int = 0) -> Tensor:
    """Hard states (n, length) of stretches: clusters of coordinates averaged over `window` times before and after.

    The average tells apart states that show the same at one time but not around it; -1 where nothing was observed.

    Parameters
    ----------
    coordinates : Tensor, (n, length, d)
        NaN where nothing was observed.
    states, window, seed : int

    Examples
    --------
    >>> steps = torch.cat([torch.zeros(20), torch.ones(20)]).reshape(1, 40, 1)
    >>> found = first_states(steps, 2, window=2)
    >>> bool((found[0, :18] == found[0, 0]).all() and (found[0, 22:] == 1 - found[0, 0]).all())
    True
    """
    from scipy.cluster.vq import ClusterError, kmeans2

    z = coordinates.detach().double().cpu().numpy()
    present = ~np.isnan(z[..., 0])
    sums = np.cumsum(np.where(present[..., None], z, 0.0), 1)
    counts = np.cumsum(present, 1)
    high = np.minimum(np.arange(z.shape[1]) + window, z.shape[1] - 1)
    low = np.arange(z.shape[1]) - window - 1
    within = sums[:, high] - np.where(low[:, None] >= 0, sums[:, low.clip(0)], 0.0)
    number = counts[:, high] - np.where(low >= 0, counts[:, low.clip(0)], 0)
    around = (within / number[..., None].clip(1))[present]
    labels, rng = np.full(present.shape, -1), np.random.default_rng(seed)
    around += 1e-9 * rng.normal(size=around.shape)  # there may be fewer different ones than states
    try:
        labels[present] = kmeans2(around, states, minit="++", rng=rng, missing="raise")[1]
    except (ClusterError, ValueError):
        labels[present] = rng.integers(states, size=len(around))
    return torch.as_tensor(labels)
