"""One variable of a configuration: a feature, the angle of one torsion, a coordinate, or a CV."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bayescg.errors import ConfigError, DataError
from bayescg.features.interface import Features
from bayescg.features.torsions import Torsions

__all__ = ["check_variable", "is_angle", "one_variable"]


def check_variable(features: Features | None, cv: Any) -> Callable[[Tensor], Tensor] | None:
    """`cv` as a function of positions, the mean of a fit's or a model's CV; None where features are the variable.

    Raises
    ------
    ConfigError
        There are both, several features, or it is no CV.

    Examples
    --------
    >>> check_variable(None, None) is None
    True
    """
    if features is not None and (cv is not None or not (is_angle(features) or features.size == 1)):
        raise ConfigError(
            "effective dynamics is of one variable: give features of size 1, those of one torsion, or cv= alone"
        )
    model: Any = cv
    if callable(getattr(cv, "cv", None)):
        return lambda x: model.cv(x).mean
    if cv is not None and not callable(cv):
        raise ConfigError(f"cv is a {type(cv).__name__}: give a fit with one CV, or a function of positions")
    return model


def is_angle(features: Features | None) -> bool:
    """Whether features are the sine and cosine of one torsion.

    Examples
    --------
    >>> is_angle(None)
    False
    """
    return isinstance(features, Torsions) and features.size == 2


def one_variable(x: Tensor, features: Features | None, cv: Callable[[Tensor], Tensor] | None) -> Tensor:
    """The variable of positions ``(n, ...)``, ``(n,)``; of neither features nor a CV, their only coordinate.

    Raises
    ------
    DataError
        There are several.

    Examples
    --------
    >>> one_variable(torch.ones(2, 3), None, lambda x: x.sum(1))
    tensor([3., 3.])
    """
    y = x.flatten(1) if features is None else features(x)
    if is_angle(features):
        return torch.atan2(y[:, 0], y[:, 1])
    if cv is not None:
        y = cv(x).reshape(len(x), -1)
    if y.shape[1] != 1:
        raise DataError(
            f"effective dynamics is of one variable, and these frames have {y.shape[1]} coordinates: give features= of "
            "size 1, or cv= a function of positions or a fit with one CV"
        )
    return y[:, 0]
