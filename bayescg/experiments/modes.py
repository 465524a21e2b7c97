"""Which of a mixture's modes weighted frames have found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["modes_found"]


def modes_found(frames: Frames, centres: Any) -> dict[str, Any]:
    """Share of the probability next to each of the centres of equal modes, as a multiple of what it should be.

    Parameters
    ----------
    frames : Frames
        Of a toy system, ``(n, dim)``, with weights.
    centres : Tensor, shape (modes, dim)

    Returns
    -------
    dict
        ``modes``; ``within_20_percent``, how many have their share up to a fifth; ``smallest`` and ``largest`` share.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> x = np.repeat([[0.0], [1.0], [2.0]], [50, 45, 5], axis=0)
    >>> found = modes_found(Frames.from_numpy(x, unit="reduced", temperature_kT=1.0), np.array([[0.0], [1.0]]))
    >>> found["modes"], found["within_20_percent"], round(found["largest"], 2)
    (2, 2, 1.0)
    """
    x = np.asarray(frames.positions).reshape(len(frames), -1)
    weight = np.ones(len(x)) if frames.weights is None else np.asarray(frames.weights, dtype=np.float64)
    nearest = KDTree(np.asarray(centres)).query(x)[1]
    share = np.bincount(nearest, weight, minlength=len(centres)) * len(centres) / weight.sum()
    return {
        "modes": len(share), "within_20_percent": int((np.abs(share - 1) < 0.2).sum()),
        "smallest": float(share.min()), "largest": float(share.max()),
    }  # fmt: skip
