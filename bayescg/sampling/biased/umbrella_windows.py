"""Windows along a CV: where they are, how stiff, and which starts are near."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescg.errors import ConfigError

__all__ = ["Ladder", "ladder_along"]

ENDS = (0.01, 0.99)
"""Quantiles of the CV over the starts at which the first and the last window stand."""
_MIDDLE = 0.2
"""Part of the starts committed to a region, those of lowest energy, that are in the middle of its basin."""


@dataclass(frozen=True)
class Ladder:
    r"""Harmonic windows, :math:`b_k(s) = \kappa_k (s - c_k)^2 / 2` in kT.

    Attributes
    ----------
    centres, stiffness : ndarray, shape (windows,)
        :math:`c_k`, increasing, and :math:`\kappa_k`, in kT per square of the CV.

    Examples
    --------
    >>> ladder = Ladder(np.array([0.0, 1.0]), np.array([1.0, 4.0]))
    >>> ladder.energies(np.array([0.0, 2.0]))
    array([[0., 2.], [2., 2.]])
    """

    centres: np.ndarray
    stiffness: np.ndarray

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def widths(self) -> np.ndarray:
        """Standard deviation of the CV in each window where the free energy is flat, (windows,)."""
        return self.stiffness**-0.5

    def energies(self, s: np.ndarray) -> np.ndarray:
        """Bias of frames with these CVs in every window, (n, windows), in kT."""
        return 0.5 * self.stiffness * (s.astype(np.float64)[:, None] - self.centres) ** 2

    def nearest(self, s: np.ndarray, walkers: int) -> np.ndarray:
        """The starts whose CVs `s` are nearest to each window, (walkers, windows); again where there are too few."""
        order = np.argsort(np.abs(s[:, None] - self.centres), axis=0, kind="stable")
        return order[np.arange(walkers) % len(s)]


def ladder_along(
    s: np.ndarray,
    windows: int,
    centres: Sequence[float] | None = None,
    stiffness: float | Sequence[float] | None = None,
    commitments: np.ndarray | None = None,
    energy: np.ndarray | None = None,
) -> Ladder:
    """A ladder along the CV.

    Parameters
    ----------
    s : ndarray, shape (n,)
        CV of the starts.
    windows : int
        How many, where `centres` do not say.
    centres : sequence of float, optional
        Increasing. Default: equally spaced between the medians of the starts that are committed to either region, of
        those of lowest energy where it is known, or between the quantiles `ENDS` of all.
    stiffness : float or sequence of float, optional
        In kT per square of the CV. Default: the inverse square of the spacing of the centres, with which neighbours
        exchange about half of their attempts where the free energy bends less than the bias.
    commitments : ndarray of int, shape (n, 2), optional
        How many shots of each start ended in either region.
    energy : ndarray, shape (n,), optional
        Of the starts, of any unit.

    Raises
    ------
    ConfigError
        Fewer than two windows, centres that do not increase, a stiffness that is not positive, or a CV that is the same
        in all starts.
    """
    if centres is None:
        low, high = _ends(s, commitments, energy)
        if not high - low > 1e-6 * max(1.0, abs(low), abs(high)):
            raise ConfigError(
                f"the CV is constant over the {len(s)} starts ({low:g}), so that there is nothing to bias: give starts "
                "from all along the CV, or another CV"
            )
        centres = np.linspace(low, high, windows).tolist()
    middle = _numbers("centres", centres)
    if len(middle) < 2 or not (np.diff(middle) > 0).all():
        raise ConfigError(f"centres={centres!r} must be at least two numbers that increase")
    if stiffness is None:
        return Ladder(middle, np.gradient(middle) ** -2)
    springs = _numbers("stiffness", stiffness)
    if springs.shape not in ((), (len(middle),)) or not (springs > 0).all():
        raise ConfigError(f"stiffness={stiffness!r} must be positive: one number, or one for each of {len(middle)}")
    return Ladder(middle, np.broadcast_to(springs, middle.shape).copy())


def _ends(s: np.ndarray, commitments: np.ndarray | None, energy: np.ndarray | None) -> tuple[float, float]:
    """Where the first and the last window stand: of shots at two regions, in the middle of the basin of each."""
    if commitments is not None and commitments.shape[1] == 2:
        committed = [np.flatnonzero((commitments[:, k] > 0) & (commitments[:, 1 - k] == 0)) for k in (0, 1)]
        if all(map(len, committed)):
            if energy is not None and np.isfinite(energy).all():
                committed = [rows[energy[rows] <= np.quantile(energy[rows], _MIDDLE)] for rows in committed]
            low, high = sorted(float(np.median(s[rows])) for rows in committed)
            return low, high
    low, high = np.quantile(s, ENDS)
    return float(low), float(high)


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}={values!r} are no numbers") from None
    if not np.isfinite(numbers).all() or numbers.ndim > 1:
        raise ConfigError(f"{name}={values!r} must be finite numbers")
    return numbers
