"""Quantities of Markov chains, many of them at once, and how much one more count from each state tells of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logit

from bayescg.errors import ConfigError

__all__ = ["Population", "Timescale", "chain_quantity"]

_LEAST_CORRELATION, _LARGEST_CORRELATION = 1e-9, 1 - 1e-9
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Timescale:
    """Logarithm of an implied timescale: of |l|, the eigenvalue of a mode of P (draws, states, states)."""

    mode: int
    lag: float
    states: int

    def undefined(self) -> str | None:
        """Why it is not defined."""
        if self.states > self.mode:
            return None
        return f"log t{self.mode}: {self.states} states were visited, and a timescale more than that is not defined"

    def values(self, p: np.ndarray) -> np.ndarray:
        """Of each draw, (draws,)."""
        size = np.sort(np.abs(np.linalg.eigvals(p)), axis=1)[:, -1 - self.mode]
        return np.log(-self.lag / np.log(size.clip(_LEAST_CORRELATION, _LARGEST_CORRELATION)))

    def spreads(self, p: np.ndarray) -> np.ndarray:
        """Variance of |l| for one more count from each state, (draws, states).

        That of log t is the same times a factor, by which an average over draws would be one of those with the largest.
        """
        values, right = np.linalg.eig(p)
        draw, k = np.arange(len(p)), np.argsort(-np.abs(values), axis=1)[:, self.mode]
        left, right, value = np.linalg.pinv(right)[draw, k], right[draw, :, k], values[draw, k]
        phase = np.conj(value) / np.abs(value).clip(_LEAST_CORRELATION)
        slopes = phase[:, None, None] * left[:, :, None] * right[:, None, :]  # by P
        return _row_variances(p, slopes.real)


@dataclass(frozen=True)
class Population:
    """Logit of the population of a region, by the stationary vector of P (draws, states, states)."""

    inside: np.ndarray
    region: Any
    mode: int = 1

    def undefined(self) -> str | None:
        """Why it is not defined."""
        if not self.inside.any():
            return f"logit p: no visited state is in region={self.region!r}, so that its population is not defined"
        return f"logit p: all visited states are in region={self.region!r}" if self.inside.all() else None

    def values(self, p: np.ndarray) -> np.ndarray:
        """Of each draw, (draws,)."""
        return logit(self._share(_stationary(p)))

    def spreads(self, p: np.ndarray) -> np.ndarray:
        """Variance for one more count from each state, (draws, states)."""
        pi = _stationary(p)
        share = self._share(pi)
        z = np.linalg.solve(np.eye(p.shape[1]) - p + pi[:, None, :], self.inside[None, :, None])
        return pi**2 * _row_variances(p, z.mT) / (share * (1 - share))[:, None] ** 2

    def _share(self, pi: np.ndarray) -> np.ndarray:
        return (pi @ self.inside).clip(_ROUNDING, 1 - _ROUNDING)


def chain_quantity(name: str, region: Any, lag: float, visited: np.ndarray) -> Timescale | Population:
    """A quantity by its name, of chains over the `visited` states.

    Raises
    ------
    ConfigError
        It is not known, or has a region that is not its own, or lacks one.
    """
    match = re.fullmatch(r"log t([1-9]\d*)", name)
    if name != "logit p" and match is None:
        raise ConfigError(f"quantity={name!r} is not known; use 'log t1', 'log t2', ..., or 'logit p' with region=")
    if (match is None) != (region is not None):
        raise ConfigError(
            f"region={region!r} and quantity={name!r}: a region, of numbers of states, goes with quantity='logit p', "
            "and with no other"
        )
    if match is None:
        return Population(np.isin(visited, region).astype(float), region)
    return Timescale(int(match[1]), lag, len(visited))


def _stationary(p: np.ndarray) -> np.ndarray:
    """Stationary vectors of P (draws, states, states)."""
    states = p.shape[1]
    return np.linalg.solve((np.eye(states) - p + 1).mT, np.ones((1, states, 1)))[..., 0]


def _row_variances(p: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of values (draws, states or 1, states) where a step from each state leads, (draws, states)."""
    return ((p * values**2).sum(2) - (p * values).sum(2) ** 2).clip(0)
