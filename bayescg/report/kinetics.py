"""Figures of slow modes that a run draws beside their spectrum: over torsions, against lag, Chapman and Kolmogorov."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bayescg import plot
from bayescg.features.observables import from_names
from bayescg.report.figures import save

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from bayescg.analysis import ChapmanKolmogorov, SlowModes
    from bayescg.data import Frames

__all__ = ["draw_kinetics"]

_MOST = 20_000


def draw_kinetics(
    folder: Path,
    modes: SlowModes,
    frames: Frames,
    torsions: Sequence[str] = (),
    timescales: xr.DataArray | None = None,
    test: ChapmanKolmogorov | None = None,
    truth: Sequence[float] | None = None,
) -> dict[Path, str]:
    """Draw what a run knows of slow modes at lags, and of a molecule's over its torsions.

    Parameters
    ----------
    folder : Path
    modes : SlowModes
    frames : Frames
        All frames of the run.
    torsions : sequence of str
        Names of observables; the first two are drawn over.
    timescales : DataArray, (lag, draw, mode), optional
        Of :func:`bayescg.analysis.implied_timescales`.
    test : ChapmanKolmogorov, optional
    truth : sequence of float, optional
        Exact timescales.

    Returns
    -------
    dict of Path to str
        PNG files and their captions, in reading order.

    Raises
    ------
    OutputError
        A figure cannot be written; none is left half.
    """
    drawn: dict[str, tuple[Figure, str]] = {}
    if torsions:
        few = frames.subset(np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MOST)).astype(np.int64)))
        x = torch.as_tensor(few.gather(slice(None)))
        angles = from_names(torsions[:2], frames.topology)
        values = np.stack([angle(x).numpy() for angle in angles], 1)
        named = [angle.name for angle in angles], [angle.unit for angle in angles]
        drawn["eigenfunctions"] = (
            plot.eigenfunctions(modes, few, values, *named),
            f"The eigenfunctions over {' and '.join(named[0])}, slowest first: mean and standard deviation. A mode is "
            "the exchange between regions of different sign.",
        )
    if timescales is not None:
        drawn["timescales"] = (
            plot.timescales(timescales, truth),
            "Implied timescales against lag with 90 % bands; they should be flat. Grey: shorter than the lag itself. "
            "No point: at that lag the mode cannot be told from noise.",
        )
    if test is not None:
        drawn["chapman_kolmogorov"] = (
            plot.chapman_kolmogorov(test),
            "Chapman-Kolmogorov test: correlations of the modes as the fit's lag predicts them (line and band) and as "
            "they are at longer lags (points), with 90 % intervals.",
        )
    return {save(folder / f"{name}.png", figure): caption for name, (figure, caption) in drawn.items()}
