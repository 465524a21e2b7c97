"""How close to each other particles come, and how far apart, in configurations with labels."""

from typing import Any

import numpy as np

__all__ = ["Reach"]

_SLACK = 0.1
"""How far beyond the distances of labelled configurations, in these, a simulation is followed."""


class Reach:
    """The distances between particles of each pair of kinds in labelled configurations, and a tenth beyond.

    Parameters
    ----------
    labelled : ndarray, (n, dim)
    topology : mdtraj.Topology or None
        Without it, particles are all alike.
    """

    def __init__(self, labelled: np.ndarray, topology: Any):
        count = labelled.shape[1] // 3
        self.pairs = np.triu_indices(count, 1)
        elements = (
            [0] * count if topology is None else [getattr(atom.element, "symbol", atom.name) for atom in topology.atoms]
        )
        kinds = np.unique(elements, return_inverse=True)[1]
        pairs = np.sort(np.stack([kinds[i] for i in self.pairs], 1), 1)
        groups = np.unique(pairs @ [len(pairs) + 1, 1], return_inverse=True)[1]
        r = self._distances(labelled)
        least, most = np.full(len(r.T), np.inf), np.zeros(len(r.T))
        np.minimum.at(least, groups, r.min(0))
        np.maximum.at(most, groups, r.max(0))
        self.low, self.high = (1 - _SLACK) * least[groups], (1 + _SLACK) * most[groups]

    def up_to_its_end(self, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where each chain of a path (chains, steps, dim) first comes out of reach, or its end; and which do."""
        r = self._distances(path)
        out = np.any((r < self.low) | (r > self.high), axis=-1)
        left = out.any(axis=1)
        return path[np.arange(len(path)), np.where(left, out.argmax(1), path.shape[1] - 1)], left

    def _distances(self, x: np.ndarray) -> np.ndarray:
        """(..., pairs) of (..., dim)."""
        x = x.reshape(*x.shape[:-1], -1, 3)
        return np.linalg.norm(x[..., self.pairs[0], :] - x[..., self.pairs[1], :], axis=-1)
