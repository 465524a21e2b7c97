"""What every question of a free energy or of slow modes checks before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import hypergeom

from bayescg.arguments import check_counts, check_numbers
from bayescg.data import Frames, Pairs, Stretches, evenly
from bayescg.errors import ConfigError, DataError

__all__ = ["check_fit", "check_landscape", "check_question", "was_trained_on"]

_LOOKED_AT = 200
_CHANCE = 1e-3


def check_fit(fit: Any) -> None:
    """Refuse what is no fit.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> check_fit(None)
    Traceback (most recent call last):
    bayescg.errors.ConfigError: fit is a NoneType; give what bcg.fit or bcg.Fit.load returns
    """
    from bayescg.inference import Fit

    if not isinstance(fit, Fit):
        raise ConfigError(f"fit is a {type(fit).__name__}; give what bcg.fit or bcg.Fit.load returns")


def check_landscape(fit: Any, frames: Any, cv: Any, periodic: Any, level: Any, **counts: tuple[Any, int]) -> None:
    """Refuse what no free energy can be asked for; `fit`, `frames`, `cv` and `periodic` may be None.

    Raises
    ------
    DataError, ConfigError
    """
    if fit is not None and not hasattr(fit, "cv_draws"):  # all that is asked of it
        check_fit(fit)
    if frames is not None:
        check_question(frames)
    check_counts(**counts)
    check_numbers(level=(level, "(0, 1)"))
    cvs = cv if isinstance(cv, list | tuple) else [cv]
    if not cvs or (cv is not None and not all(callable(c) or isinstance(c, str) for c in cvs)):
        raise ConfigError(f"cv={cv!r} must be a function of positions, the name of an observable, or two of these")
    flags = np.ravel(np.array(periodic, dtype=object))
    if periodic is not None and not all(isinstance(p, bool | np.bool_) for p in flags):
        raise ConfigError(f"periodic={periodic!r} must be True or False, or one of these for each CV")


def check_question(frames: Any, **counts: tuple[Any, int]) -> None:
    """Refuse what are no frames, and numbers that are not whole or below their least.

    Raises
    ------
    DataError, ConfigError

    Examples
    --------
    >>> check_question([[0.0], [1.0]], modes=(3, 1))
    Traceback (most recent call last):
    bayescg.errors.DataError: frames are a list; give Frames: bcg.data.load(files, top=...), or ...
    """
    if isinstance(frames, Pairs):
        raise DataError(f"frames are pairs; give the frames themselves, and lag={frames.lag:g}")
    if not isinstance(frames, Frames):
        raise DataError(
            f"frames are a {type(frames).__name__}; give Frames: bcg.data.load(files, top=...), or "
            "bcg.data.Frames.from_numpy(x, unit=..., dt=...)"
        )
    check_counts(**counts)


def was_trained_on(fit: Any, frames: Frames) -> bool:
    """Whether some frames are those of a fit's training, where these are at hand.

    They are recognised by their positions. Of few distinct values, as of cells, other frames are alike as well: more
    of these have to be among those of the training than these are there twice, beyond chance.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> for values in (x, x.round()):
    ...     frames = Frames.from_numpy(values, unit="reduced")
    ...     fit = SimpleNamespace(frames=frames[:60])
    ...     print(was_trained_on(fit, frames[60:]), was_trained_on(fit, frames[40:]))
    False True
    False False
    """
    data = getattr(fit, "frames", None)
    training = data.frames if isinstance(data, Pairs | Stretches) else data
    if not isinstance(training, Frames) or training.positions.shape[1:] != frames.positions.shape[1:]:
        return False
    shared, looked_at = _repeated(frames, training, 1)
    twice, among = _repeated(training, training, 2)
    return float(hypergeom.sf(shared - 1, looked_at + among, shared + twice, looked_at)) < _CHANCE


def _repeated(frames: Frames, training: Frames, times: int) -> tuple[int, int]:
    """How many of some frames are so many times in a training, and how many these are."""
    few = frames.gather(evenly(frames, _LOOKED_AT)).reshape(-1, frames.dim)
    start = training.positions[:, 0] if training.positions.ndim == 3 else training.positions[:, :3]
    alike = np.logical_and.reduce([np.isin(start[:, k], few[:, k]) for k in range(start.shape[1])])
    rows = training.gather(np.flatnonzero(alike)).reshape(-1, frames.dim)
    return sum(int((row == rows).all(1).sum() >= times) for row in few), len(few)
