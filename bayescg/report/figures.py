"""The figures of a run, as PNG files with captions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayescg import plot
from bayescg.checkpoint import write_file
from bayescg.modelling.model import HasCV
from bayescg.plot.fits import loss_unit
from bayescg.systems.analytic import AnalyticSystem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.analysis import FreeEnergy, PredictiveCheck, SlowModes
    from bayescg.data import Frames
    from bayescg.inference import Fit

__all__ = ["draw_figures"]


def draw_figures(
    folder: Path,
    fit: Fit,
    frames: Frames,
    check: PredictiveCheck | None,
    landscapes: Mapping[str, FreeEnergy],
    known: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    modes: SlowModes | None = None,
    rates: Sequence[float] = (),
) -> dict[Path, str]:
    """Draw what a run has: predictions, CVs, free energies, the loss.

    Parameters
    ----------
    folder : Path
    fit : Fit
    frames : Frames
        All frames of the run.
    check : PredictiveCheck or None
    landscapes : mapping of str to FreeEnergy
        By the name of the figure.
    known : mapping of str to (edges, shares), optional
        Histograms of a reference, of some of the landscapes (:func:`bayescg.plot.predicted`).
    modes : SlowModes, optional
        Drawn in place of the CVs, with which they agree.
    rates : sequence of float
        Their exact eigenvalues, where these are known.

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
    if modes is not None:
        drawn |= _slow_modes(modes, rates, frames)
    elif isinstance(fit.model, HasCV):
        angles = [o.name for o in check if o.periodic] if check is not None else []
        colours = {"cv": angles[-1] if angles else "density"}
        if not fit.model.needs_frames:
            turned = [name for name, fes in landscapes.items() if fes.cv_units == ("rad",)]
            colours = {f"cv_{name}": name for name in turned} or colours
        for name, colour in colours.items():
            drawn[name] = (
                plot.cv(fit, _equally_weighted(frames), color=colour),
                _cv_caption(fit, frames, colour),
            )
    exact = isinstance(getattr(fit.model, "system", None), AnalyticSystem)
    if known and not exact:
        alone = {name: fes for name, fes in landscapes.items() if len(fes.edges) == 1 and name != "cv"}
        drawn["predicted"] = (
            plot.predicted(alone, known),
            "Distributions of the reweighted draws, made without any simulation, with bands of the error of their "
            "number, and those of the reference. What the generator never visits is in no band.",
        )
    if check is not None:
        drawn["predictive_check"] = (
            plot.predictive_check(check),
            "Observables of frames that were held out, and as the model predicts them. The dark band is the "
            "uncertainty of the parameters, the light one adds the error of as many frames.",
        )
        if {"phi", "psi"} <= check.observables.keys():
            drawn["ramachandran"] = (
                plot.ramachandran(fit, frames),
                "Backbone torsions of the frames and of the model.",
            )
    for name, landscape in landscapes.items():
        over = " and ".join(landscape.names)
        drawn[f"free_energy_{name}"] = (
            plot.free_energy(landscape, (known or {}).get(name), "exact" if exact else "reference"),
            f"Free energy over {over}, {_uncertainty(fit, frames)}.",
        )
    if fit.log:
        drawn["loss"] = (plot.loss(fit), _loss_caption(fit))
    return {save(folder / f"{name}.png", figure): caption for name, (figure, caption) in drawn.items()}


def _cv_caption(fit: Fit, frames: Frames, colour: str) -> str:
    whose, one = ("frames", "frame") if fit.model.needs_frames else ("reweighted draws", "draw")
    alone = fit.cv(frames.gather([0])).event_shape[0] == 1
    marks = "Bars" if alone else "Ellipses"
    told = f"The collective variables of the {whose}, coloured by {colour}."
    if alone:
        told = f"The collective variable of the {whose}" + (f", against {colour}." if colour != "density" else ".")
    return f"{told} {marks} hold 90 % of the distribution that the CV of one {one} has."


def _uncertainty(fit: Fit, frames: Frames) -> str:
    if fit.model.needs_frames:
        return "with its uncertainty from blocks of frames"
    if "refits" in frames.provenance:
        return "from reweighted draws, with its uncertainty from the spread of the refits, up to 25 kT"
    return "from reweighted draws, up to 25 kT, with the uncertainty of their number: no band holds what none visits"


def _loss_caption(fit: Fit) -> str:
    if fit.model.needs_frames:
        held_out = any(row.get("validation") is not None for row in fit.log)
        unit = loss_unit(fit.model)
        what = f"in {unit}" if unit else "which is no likelihood: only its fall means anything"
        return f"Loss{' and held-out loss' if held_out else ''} during the fit, {what}."
    return fit.schedule.caption


def _slow_modes(modes: SlowModes, rates: Sequence[float], frames: Frames) -> dict[str, tuple[Figure, str]]:
    drawn = {
        "spectrum": (
            plot.spectrum(modes, rates or None),
            "The slowest eigenvalues, with 90 % intervals from blocks of frames.",
        )
    }
    if frames.positions.ndim == 2:
        first = np.asarray(frames.positions[:, :2])
        drawn["eigenfunctions"] = (
            plot.eigenfunctions(modes, frames, first),
            "The eigenfunctions over the first coordinates of the frames: mean and uncertainty.",
        )
    return drawn


def _equally_weighted(frames: Frames) -> Frames:
    """As many frames as before or 10 000, each as often as its weight asks."""
    if frames.weights is None:
        return frames
    edges = np.cumsum(np.asarray(frames.weights, np.float64))
    count = min(len(frames), 10_000)
    index = np.searchsorted(edges, (np.arange(count) + 0.5) / count * edges[-1]).clip(max=len(frames) - 1)
    return replace(frames.subset(index), weights=None)


def save(path: Path, figure: Figure) -> Path:
    """Write a figure as PNG, whole or not at all."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, bbox_inches="tight")
    write_file(path, stream.getvalue())
    return path
