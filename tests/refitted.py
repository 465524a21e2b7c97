"""Weighted draws of several refits, some of which lost a mode."""

from dataclasses import replace

import numpy as np

from bayescg.data import Frames

DRAWS, ERROR = 4000, 0.005


def two_wells(lost: tuple[int, ...], share: float, refits: int = 5) -> Frames:
    """Two wells, of which some refits never visit the right one, with the partition functions that they would find."""
    random = np.random.default_rng(0)
    x = np.where(random.random((refits, DRAWS)) < share, 2.0, -2.0) + 0.3 * random.normal(size=(refits, DRAWS))
    log_z = ERROR * random.normal(size=refits)
    for m in lost:
        x[m] = -np.abs(x[m])
        log_z[m] += np.log1p(-share)
    frames = Frames.from_numpy(
        x.reshape(-1, 1), unit="reduced", temperature_kT=1.0, weights=np.ones(x.size),
        trajectory=np.repeat(np.arange(refits), DRAWS),
    )  # fmt: skip
    told = {"refits": refits, "log_z": log_z.tolist(), "log_z_sd": [ERROR] * refits}
    return replace(frames, provenance={**frames.provenance, **told})
