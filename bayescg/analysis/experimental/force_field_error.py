"""Prior over what a force field gets wrong: a Gaussian process over one or two CVs, on cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from scipy.special import ive, ndtr

__all__ = ["LENGTHS", "SCALE", "ForceFieldError"]

LENGTHS = (0.3, 1.7)
"""Between which the prior of the length is uniform, in radians; of a CV that is no angle, its range counts as pi."""

SCALE = 1.5
"""Scale of the half-normal prior over the error's standard deviation, kT."""

_HARMONICS = {1: 12, 2: 6}
_TABLE = 300  # lengths between which the harmonics' spreads are interpolated


class ForceFieldError:
    r"""Errors g of free energies, in kT, on cells along CVs: :math:`g \sim GP(0, s^2 k_\ell)`.

    .. math:: k_\ell(\phi, \phi') = e^{(\cos(\phi - \phi') - 1) / \ell^2},
        \quad s \sim HN(1.5), \quad \ell \sim U(0.3, 1.7)

    The kernel's Fourier coefficients are Bessel functions, so a draw is a sum of cosines and sines with standard normal
    weights. Along a CV that is no angle there are cosines alone, on half a circle. The constant, which no ensemble
    depends on, is left out. Of two CVs the kernel is a product.

    Parameters
    ----------
    centres : sequence of ndarray
        Of the cells along each CV.
    circular : sequence of bool

    Attributes
    ----------
    size : int
        Of the standard normal vector that a draw is made of: weights, and one number each for s and the length.

    Examples
    --------
    >>> prior = ForceFieldError([np.linspace(-np.pi, np.pi, 36, endpoint=False)], [True])
    >>> g, s, length = prior.errors(np.random.default_rng(0).normal(size=(4000, prior.size)))
    >>> g.shape, bool(0.3 < length.min() < length.max() < 1.7)
    ((4000, 36), True)
    >>> float(((g[:, 18] - g[:, 0]) / s).var().round(1))  # 2 - 2 k(pi), over the prior of the length
    1.7

    """

    def __init__(self, centres: Sequence[np.ndarray], circular: Sequence[bool]):
        order = _HARMONICS[len(centres)]
        parts = [_waves(c, o, order) for c, o in zip(centres, circular, strict=True)]
        waves = reduce(lambda a, b: np.einsum("ic,jd->ijcd", a, b).reshape(len(a) * len(b), -1), [w for _, w in parts])
        self._waves = waves[1:]
        self.size = len(self._waves) + 2
        lengths = np.linspace(*LENGTHS, _TABLE)[:, None]
        variances = [np.where(n > 0, 2.0, 1.0) * ive(n, lengths**-2.0) for n, _ in parts]  # of each harmonic
        self._sd = reduce(lambda a, b: np.einsum("ni,nj->nij", a, b).reshape(len(a), -1), variances)[:, 1:] ** 0.5

    def errors(self, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Errors in the cells ``(n, cells)``, their scales and lengths ``(n,)``, of standard normal vectors."""
        weights, s, share = normal[:, :-2], SCALE * np.abs(normal[:, -2]), ndtr(normal[:, -1])
        low = np.minimum((share * (_TABLE - 1)).astype(int), _TABLE - 2)
        above = (share * (_TABLE - 1) - low)[:, None]
        sd = (1 - above) * self._sd[low] + above * self._sd[low + 1]
        return s[:, None] * ((weights * sd) @ self._waves), s, LENGTHS[0] + (LENGTHS[1] - LENGTHS[0]) * share


def _waves(centres: np.ndarray, circular: bool, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (waves,) and values (waves, cells) of the harmonics of a CV, the constant first."""
    j = np.arange(1, order + 1)
    if circular:
        angle = centres
        numbers = np.r_[0, j, j]
        return numbers, np.concatenate(
            [np.ones((1, len(angle))), np.cos(np.outer(j, angle)), np.sin(np.outer(j, angle))]
        )
    angle = np.pi * (np.arange(len(centres)) + 0.5) / len(centres)
    return np.r_[0, j], np.concatenate([np.ones((1, len(angle))), np.cos(np.outer(j, angle))])
