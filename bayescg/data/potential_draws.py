"""Which draw of a posterior the frames of a simulation are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bayescg.data.frames import Frames

__all__ = ["draw_of"]


def draw_of(frames: Frames) -> np.ndarray | None:
    """Number of the posterior draw whose potential each frame was simulated with, ``(n,)``; None where there is one.

    Chains are divided among the draws in order.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from bayescg.data import Frames
    >>> import numpy as np
    >>> frames = Frames.from_numpy(np.zeros((4, 1)), unit="reduced", trajectory=np.arange(4))
    >>> draw_of(replace(frames, provenance={"potential_draws": 2, "chains": 4}))
    array([0, 0, 1, 1])
    """
    count = frames.provenance.get("potential_draws")
    if count is None:
        return None
    chains = frames.provenance.get("chains", int(frames.trajectory.max()) + 1)
    return frames.trajectory.astype(np.int64) * int(count) // int(chains)
