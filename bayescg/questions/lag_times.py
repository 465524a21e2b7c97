"""Lag times of an experiment: whether its model and its trajectories allow them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.errors import ConfigError

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment
    from bayescg.modelling import Model

__all__ = ["check_lags", "check_lags_of_frames", "multiples"]

_TESTED = (1, 2, 3, 4, 5)


def check_lags(experiment: Experiment, model: type[Model]) -> None:
    """Refuse lags that the model does not take, lacks, or the simulation cannot give, before it is run.

    Raises
    ------
    ConfigError
    """
    lag, name, simulated = experiment.data.lag, experiment.model.name, experiment.simulation
    if model.needs_pairs and lag is None:
        raise ConfigError(
            f"{name} learns from pairs of frames a lag time apart: give [data] lag = ... (ps, or the unit of a toy "
            "system)"
        )
    if lag is not None and not model.needs_pairs:
        raise ConfigError(
            f"data.lag = {lag:g}: {name} learns from single frames, not from pairs of them; leave the lag out"
        )
    if experiment.analysis.lags and not hasattr(model, "basis"):
        raise ConfigError(
            f"analysis.lags = {experiment.analysis.lags}: {name} has no basis of functions in which to look for slow "
            "modes; leave them out"
        )
    if experiment.data.frames is not None or simulated is None:
        return  # the frames themselves will tell
    if _asked(experiment) and simulated.temperature_kT is not None:
        raise ConfigError(
            "simulation.temperature_kT gives weighted frames, and a weight says nothing of the path that follows: "
            "leave out the temperature or the lags"
        )
    _check(experiment, simulated.frame_every * experiment.data.stride, simulated.time)


def check_lags_of_frames(experiment: Experiment, frames: Frames) -> None:
    """Refuse lags that the frames cannot give.

    Raises
    ------
    ConfigError
    """
    if _asked(experiment):
        if frames.dt is None:
            raise ConfigError("these frames have no time axis, so there is no lag: give [data] dt = ...")
        _check(experiment, frames.dt, _longest(frames))


def multiples(lag: float, frames: Frames) -> list[int]:
    """Of a lag, from 1 to at most 5: as far as half of the longest trajectory.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> multiples(2.0, Frames.from_numpy(np.zeros((13, 1)), unit="reduced", dt=1.0))
    [1, 2, 3]
    """
    return [n for n in _TESTED if n * lag <= _longest(frames) / 2]


def _asked(experiment: Experiment) -> dict[str, float]:
    own = {"data.lag": experiment.data.lag} if experiment.data.lag is not None else {}
    return own | {f"analysis.lags, {lag:g}": lag for lag in experiment.analysis.lags}


def _check(experiment: Experiment, spacing: float, longest: float) -> None:
    for key, lag in _asked(experiment).items():
        steps = max(1, round(lag / spacing))
        if abs(lag / spacing - steps) > 1e-3:
            raise ConfigError(
                f"{key}: {lag:g} is not a multiple of the time between frames, {spacing:g}; the nearest is "
                f"{steps * spacing:g}"
            )
        if lag >= longest:
            raise ConfigError(f"{key}: {lag:g} is not shorter than the trajectories, {longest:g}; use a shorter one")


def _longest(frames: Frames) -> float:
    """Time that the longest trajectory covers."""
    order = np.asarray(frames.order)
    ends = np.flatnonzero(np.r_[np.diff(frames.trajectory) != 0, True])
    return float((order[ends].max() - order.min()) * (frames.dt or 0.0))
