"""Maximum entropy reweighting: the baseline with one hand-set number and no intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from bayescg.analysis.block_bootstrap import weights_of
from bayescg.analysis.experimental.measurements import measurements
from bayescg.arguments import check_positive
from bayescg.errors import ConfigError

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["maximum_entropy"]


def maximum_entropy(frames: Frames, data: Mapping[str, Sequence[float]], forward: Any, theta: float) -> Frames:
    r"""The frames with the weights that minimise :math:`\chi^2 / 2 + \theta\, \mathrm{KL}(w \| w^0)`: no error bars.

    They are :math:`w \propto w^0 e^{-\lambda \cdot O}`, with :math:`\lambda` from the dual problem
    :math:`\min_\lambda \ln \sum w^0 e^{-\lambda \cdot O} + \lambda \cdot d + \frac{\theta}{2} \sum \lambda_k^2
    \sigma_k^2`. Nothing moves that is not a tilt along an observable, and theta has to be set by hand; what
    :func:`bayescg.analysis.experiments` gives beside it has a prior and intervals.

    Parameters
    ----------
    frames : Frames
    data, forward
        As of :func:`bayescg.analysis.experiments`; what is measured must be the average itself (couplings, no NOEs).
    theta : float
        Above 0: the larger, the nearer to the simulation.

    Raises
    ------
    ConfigError
        A forward model whose data are no averages; arguments that make no sense.

    References
    ----------
    Hummer, Köfinger, J. Chem. Phys. 143, 243150 (2015); Bottaro, Bengtsen, Lindorff-Larsen, Methods Mol. Biol. 2112,
    219 (2020).

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> x = np.r_[np.full(80, -1.0), np.full(20, 1.0)][:, None]
    >>> frames = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    >>> near = maximum_entropy(frames, {"x": (0.0, 0.1)}, {"x": lambda x: x[:, 0]}, theta=0.01)
    >>> round(float(np.average(x[:, 0], weights=near.weights)), 3)
    -0.0
    """
    check_positive(theta=theta)
    measured = measurements(data, forward, frames)
    probe = np.array([[1.0, 2.0]]).T * np.ones(len(measured.names))
    if not np.allclose(measured.seen(probe), probe):
        raise ConfigError("maximum entropy takes data that are averages over frames; NOEs and relaxation rates are not")
    w0 = weights_of(frames)
    log_w0, off = np.log(w0 / w0.sum()), measured.per_frame - measured.value

    def dual(tilt: np.ndarray) -> tuple[float, np.ndarray]:
        log_w = log_w0 - off @ tilt
        total = float(np.asarray(logsumexp(log_w)))
        precision = theta * measured.sd**2 * tilt
        return float(total + 0.5 * tilt @ precision), precision - np.exp(log_w - total) @ off

    tilt = minimize(dual, np.zeros(len(measured.names)), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    log_w = log_w0 - off @ tilt
    weights = np.exp(log_w - log_w.max())
    return replace(frames, weights=weights.astype(np.float32), bias=None, koopman=None)
