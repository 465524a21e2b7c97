"""How velocities forget themselves, and at which frequencies they move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.analysis.long_steps.by_trajectory import each_trajectory
from bayescg.data import Frames

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["motion"]

_LONGEST = 1000


def motion(path: Frames, speeds: np.ndarray, draws: int = 1) -> xr.Dataset:
    r"""Autocorrelation of velocities, :math:`\sum_i m_i \langle v_i(0) v_i(t) \rangle`, and its spectrum, of each draw.

    Parameters
    ----------
    path : Frames
        With times.
    speeds : ndarray, (n, dim)
        Velocities times the roots of masses.
    draws : int
        Among which trajectories are divided in order.

    Returns
    -------
    Dataset
        ``autocorrelation (draw, lag)``, which begins at 1, over at most half of the shortest trajectory and 1000 lags;
        ``spectrum (draw, frequency)``, its cosine transform under a Hann window, of integral 1; frequency per unit of
        time, 1/ps of molecules.

    Examples
    --------
    >>> time = np.arange(400) * 0.1
    >>> frames = Frames.from_numpy(np.sin(2 * np.pi * time)[:, None], unit="reduced", dt=0.1, temperature_kT=1.0)
    >>> found = motion(frames, np.cos(2 * np.pi * time)[:, None])
    >>> found.spectrum[0].idxmax().item()
    1.0
    """
    import xarray as xr

    assert path.dt is not None
    each = each_trajectory(path, speeds)
    shortest = min((len(x) for x in each if len(x)), default=2)
    lags = max(1, min(_LONGEST, shortest // 2))
    count, rows = len(each) // draws, []
    for k in range(draws):
        sums = np.zeros(lags)
        for x in each[k * count : (k + 1) * count]:
            if len(x) >= lags:
                transform = np.fft.rfft(x, 2 * len(x), axis=0)
                whole = np.fft.irfft((np.abs(transform) ** 2).sum(1))[:lags]
                sums += whole / (len(x) - np.arange(lags))
        rows.append(sums / sums[0] if sums[0] else sums)
    table = np.stack(rows)
    window = 0.5 * (1 + np.cos(np.pi * np.arange(lags) / lags))
    even = np.concatenate([table * window, np.zeros((draws, 1)), (table * window)[:, :0:-1]], 1)
    frequency = np.fft.rfftfreq(2 * lags, path.dt)
    spectrum = np.fft.rfft(even, axis=1).real
    width = frequency[1] - frequency[0]
    return xr.Dataset(
        {
            "autocorrelation": (("draw", "lag"), table),
            "spectrum": (("draw", "frequency"), spectrum / (spectrum.sum(1, keepdims=True) * width)),
        },
        coords={"lag": np.arange(lags) * path.dt, "frequency": frequency},
    )
