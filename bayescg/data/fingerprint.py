"""A short digest of what frames are, to tell one data set from another."""

import hashlib
from typing import Any

import numpy as np

from bayescg.data.evenly import evenly

__all__ = ["fingerprint"]


def fingerprint(frames: Any) -> str:
    """Digest of shape, type, unit, weights and (a sample of) the numbers of `Frames`.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> len(fingerprint(Frames.from_numpy([[0.0], [1.0]], unit="reduced")))
    16
    """
    settings = (
        frames.positions.shape,
        str(frames.positions.dtype),
        frames.unit,
        frames.dt,
        frames.temperature,
        frames.temperature_kT,
    )
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=8)
    sample = evenly(frames, 2048)
    digest.update(frames.gather(sample).tobytes())
    digest.update(np.ascontiguousarray(frames.trajectory[sample]).tobytes())
    if frames.weights is not None:
        digest.update(np.ascontiguousarray(frames.weights).data)
    for name in ("momenta", "forces", "energy", "labels", "commitments", "draw"):
        if getattr(frames, name) is not None:
            digest.update(name.encode() + frames.gather(sample, name).tobytes())
    if frames.masses is not None:
        digest.update(frames.masses.tobytes())
    return digest.hexdigest()
