"""A CV as a function of coordinates, with its gradient, as a bias needs it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bayescg.arguments import check_counts
from bayescg.errors import ConfigError
from bayescg.systems.core import System

__all__ = ["CV", "cv_of_coordinates", "with_gradient"]

CV = Callable[[Tensor], Tensor]
"""From flat coordinates (n, dim) to (n,)."""


def cv_of_coordinates(cv: Any, system: System, component: int = 0) -> CV:
    """The CV of a fit, or a function, as one of flat coordinates.

    Parameters
    ----------
    cv : Fit, Model or callable
        Of a fit, the mean of the trained model's CV, without its refits: a bias needs one CV, and any will do, for it
        is exactly undone by the weights. A function maps positions, ``(n, atoms, 3)`` in nm or ``(n, dim)``, to (n,).
    system : System
        Whose coordinates these are.
    component : int, default 0
        Which CV of a fit.

    Raises
    ------
    ConfigError
        This is no CV, or it has not so many components.

    Examples
    --------
    >>> from bayescg.systems import DoubleWell
    >>> cv_of_coordinates(lambda x: x[:, 0], DoubleWell())(torch.tensor([[2.0, 5.0]]))
    tensor([2.])
    """
    check_counts(component=(component, 0))
    model: Any = getattr(cv, "model", cv)
    if not hasattr(model, "cv"):
        if not callable(cv):
            raise ConfigError(f"cv is a {type(cv).__name__}: give a fit, or a function from positions to (n,)")
        return lambda x: _one_each(cv(system.positions(x)), x)
    import pyro

    parameter: Tensor | None = next(model.parameters(), None) if hasattr(model, "parameters") else None

    def value(x: Tensor) -> Tensor:
        y = system.positions(x)
        with pyro.validation_enabled(False):  # which looks at values, so that nothing could be recorded
            mean = model.cv(y if parameter is None else y.to(parameter)).mean
        if component >= mean.shape[-1]:
            raise ConfigError(f"component={component}, but the fit has {mean.shape[-1]} CVs, numbered from 0")
        return mean[:, component].to(x)

    return value


def with_gradient(value: CV) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """From coordinates (n, dim) to values (n,) and gradients (n, dim), by operations that can be recorded.

    Examples
    --------
    >>> with_gradient(lambda x: x[:, 0] * x[:, 1])(torch.tensor([[2.0, 5.0]]))
    (tensor([10.]), tensor([[5., 2.]]))
    """

    def summed(x: Tensor) -> tuple[Tensor, Tensor]:
        values = value(x)
        return values.sum(), values

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        gradient, values = torch.func.grad(summed, has_aux=True)(x)
        return values, gradient

    return both


def _one_each(values: Any, x: Tensor) -> Tensor:
    if not isinstance(values, Tensor) or values.shape not in ((len(x),), (len(x), 1)):
        what = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise ConfigError(f"the CV must map {len(x)} configurations to a tensor ({len(x)},); it returned {what}")
    return values.reshape(-1).to(x)
