"""Lag times of an experiment: whether its model and its trajectories allow them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayescg.errors import ConfigError
from bayescg.questions.lag_times import longest

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment
    from bayescg.modelling import Model

__all__ = ["check_lags", "check_lags_of_frames"]


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
    if experiment.data.frames is not None or simulated is None:
        return  # the frames themselves will tell
    if _lags(experiment) and simulated.temperature_kT is not None:
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
    if _lags(experiment):
        if frames.dt is None:
            raise ConfigError("these frames have no time axis, so there is no lag: give [data] dt = ...")
        _check(experiment, frames.dt, longest(frames))


def _lags(experiment: Experiment) -> dict[str, float]:
    """By the keys that they stand under."""
    lags = {"data.lag": experiment.data.lag} if experiment.data.lag is not None else {}
    return lags | {f"analysis.lags, {lag:g}": lag for lag in experiment.analysis.lags}


def _check(experiment: Experiment, spacing: float, longest: float) -> None:
    for key, lag in _lags(experiment).items():
        steps = max(1, round(lag / spacing))
        if abs(lag / spacing - steps) > 1e-3:
            raise ConfigError(
                f"{key}: {lag:g} is not a multiple of the time between frames, {spacing:g}; the nearest is "
                f"{steps * spacing:g}"
            )
        if lag >= longest:
            raise ConfigError(f"{key}: {lag:g} is not shorter than the trajectories, {longest:g}; use a shorter one")
