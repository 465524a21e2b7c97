"""Which draw of a posterior frames are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bayescg.data.frames import Frames

__all__ = ["draw_of"]


def draw_of(frames: Frames) -> np.ndarray | None:
    """Number of the posterior draw that each frame is of, ``(n,)``; None where there is one.

    Chains of a simulation with draws of a potential are divided among these in order. Draws that share a simulation
    have its frames in turn, which say so themselves (``frames.draw``).

    Examples
    --------
    >>> from dataclasses import replace
    >>> from bayescg.data import Frames
    >>> import numpy as np
    >>> frames = Frames.from_numpy(np.zeros((4, 1)), unit="reduced", trajectory=np.arange(4))
    >>> draw_of(replace(frames, provenance={"potential_draws": 2, "chains": 4}))
    array([0, 0, 1, 1])
    """
    if frames.draw is not None:
        return frames.draw
    count = frames.provenance.get("potential_draws")
    if count is None:
        return None
    chains = frames.provenance.get("chains", int(frames.trajectory.max()) + 1)
    return frames.trajectory.astype(np.int64) * int(count) // int(chains)
