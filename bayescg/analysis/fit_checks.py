"""What every question of a free energy or of slow modes checks before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescg.arguments import check_counts, check_numbers
from bayescg.data import Frames, Pairs
from bayescg.errors import ConfigError, DataError

__all__ = ["check_fit", "check_landscape", "check_question"]


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
