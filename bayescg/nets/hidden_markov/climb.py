"""Uphill in a metric: a quasi-Newton search whose first steps are already about as long as they should be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

__all__ = ["climb"]

_STEPS = 30
_NEAR = 0.02
"""Slope in the metric at which the search ends: in standard deviations of the parameters."""
_GAIN = 1e-2


def climb(
    slope: Callable[[np.ndarray], tuple[float, np.ndarray]],
    metric: Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]],
    begin: np.ndarray,
    rounds: int = 12,
) -> tuple[np.ndarray, float, bool]:
    """Highest place of a log density that lies uphill from where the search begins.

    Parameters
    ----------
    slope : callable
        From a place (k,) to the log density and its gradient (k,).
    metric : callable
        From a place to a symmetric linear map of steps (k,), near to the root of the inverse of the curvature there;
        asked for anew in each round.
    begin : ndarray, (k,)
    rounds : int
        At most so many, of at most 30 steps.

    Returns
    -------
    place : ndarray, (k,)
    value : float
    converged : bool

    Examples
    --------
    >>> wide = np.array([100.0, 1.0])
    >>> density = lambda x: (-0.5 * (x / wide) @ (x / wide), -x / wide**2)
    >>> place, value, converged = climb(density, lambda _: lambda z: wide * z, wide)
    >>> bool(np.abs(place / wide).max() < 0.02), converged
    (True, True)
    """
    place, value = begin, -np.inf
    for _ in range(rounds):
        spread, origin = metric(place), place

        def downhill(z: np.ndarray, spread: Callable = spread, origin: np.ndarray = origin) -> tuple[float, np.ndarray]:
            height, gradient = slope(origin + spread(z))
            return -height, -spread(gradient)

        options = {"maxiter": _STEPS, "maxcor": _STEPS, "ftol": 0.0, "gtol": _NEAR}
        result = minimize(downhill, np.zeros_like(place), jac=True, method="L-BFGS-B", options=options)
        place, gain, value = origin + spread(result.x), -result.fun - value, -float(result.fun)
        if result.nit < _STEPS or gain < _GAIN:
            return place, value, True
    return place, value, False
