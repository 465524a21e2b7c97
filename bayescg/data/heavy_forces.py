"""Forces so large that a single frame decides what is learned from all of them."""

import numpy as np

from bayescg.data.evenly import evenly
from bayescg.data.frames import Frames

__all__ = ["heavy_force"]

_ALONE = 0.5
_FEWEST = 30


def heavy_force(frames: Frames) -> str:
    """What to say of a frame that holds more than half of the square of all forces; empty where none does.

    Of frames fewer than thirty nothing is said.

    Examples
    --------
    >>> forces = np.random.default_rng(0).normal(size=(300, 1))
    >>> forces[17] = 1e6
    >>> heavy_force(Frames.from_numpy(np.zeros((300, 1)), unit="reduced", temperature_kT=1.0, forces=forces))[:40]
    'the forces of frame 17 are 1.4e+06 times'
    """
    if frames.forces is None or len(frames) < _FEWEST:
        return ""
    rows = evenly(frames)
    square = np.square(np.asarray(frames.gather(rows, "forces"), dtype=np.float64)).reshape(len(rows), -1).sum(1)
    worst = int(square.argmax())
    share, typical = square[worst] / square.sum() if square.any() else 0.0, np.median(square)
    if share <= _ALONE:
        return ""
    times = f"{(square[worst] / typical) ** 0.5:.2g} times the typical ones" if typical else "the only ones"
    return (
        f"the forces of frame {rows[worst]} are {times}, and alone hold {share:.1%} of the square of all: they decide "
        "what is learned, with error bars that do not know; look at that frame, and leave it out if it is broken"
    )
