"""Pieces of the paths of replicas in which nothing but one bias acts."""

from dataclasses import replace
from typing import Any

import numpy as np

from bayescg.data.frame_checks import run_starts
from bayescg.errors import DataError

__all__ = ["segments"]


def segments(frames: Any) -> Any:
    """Frames of umbrella sampling, replica by replica, as trajectories that end where windows are exchanged.

    See :meth:`bayescg.data.Frames.segments`.
    """
    note, bias = frames.provenance, frames.bias
    if bias is None or note.get("sampler") != "umbrella" or frames.order is None:
        raise DataError("segments are of frames of bcg.sampling.umbrella, whole: these do not say when they were kept")
    every, stride = note["exchange_every"], note["stride"]
    if every is not None and 2 * stride > every:
        raise DataError(
            f"frames are kept every {stride} steps and windows exchanged every {every}: no window holds two frames of "
            "a segment. Sample with a shorter stride=, or exchange_every= longer, by what the lag takes; None does "
            "without exchange"
        )
    rows = np.lexsort((frames.order, bias.replica))
    place = (frames.order // bias.windows)[rows]
    step = note["equilibration"] + (place + 1) * stride
    piece = np.zeros(len(rows), dtype=np.int64) if every is None else step // every
    replica = bias.replica[rows]
    new = (np.diff(replica, prepend=-1) != 0) | (np.diff(piece, prepend=-1) != 0) | (np.diff(place, prepend=-1) != 1)
    trajectory = np.cumsum(new) - 1
    starts = run_starts(trajectory)
    order = np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)]))
    dt = note["dt"] * stride
    part = frames.subset(rows)
    return replace(part, trajectory=trajectory, order=order, dt=dt, times=order * dt)
