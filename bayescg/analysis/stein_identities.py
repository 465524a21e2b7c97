"""Two identities between forces and positions, pair by pair, with the errors of all of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescg.analysis.block_bootstrap import inefficiency, weights_of, without_tails
from bayescg.analysis.quantity import Quantity
from bayescg.analysis.resampled import resampled
from bayescg.data import Frames, evenly
from bayescg.draws import interval
from bayescg.errors import ConfigError, DataError

__all__ = ["Identities", "along_pairs", "pairs_of"]

_MOST = 100  # pairs, or coordinates
_AT_ONCE = 65_536


class Identities:
    """Both versions of the identity for all pairs, from one set of draws.

    Parameters
    ----------
    frames : Frames
    force, length : ndarray, (n, pairs)
        Force along the unit vector, and distance; of a toy system force and coordinate.
    draws, seed : int
    """

    def __init__(self, frames: Frames, force: np.ndarray, length: np.ndarray, draws: int, seed: int):
        self.frames, self.force, self.length, self.draws, self.seed = frames, force, length, draws, seed
        kT, toy = frames.kT, frames.positions.ndim == 2
        w = weights_of(frames)
        about = length - np.average(length, axis=0, weights=w)
        divergence = np.zeros_like(length) if toy else 4 / length
        mean, work = force + kT * divergence, -force * about
        heat = kT * ((1 if toy else 2) + about * divergence)
        ratio = np.average(work, axis=0, weights=w) / np.average(heat, axis=0, weights=w)
        influence = np.concatenate([mean, work - ratio * heat], axis=1)
        g = inefficiency(influence, frames, (False,) * influence.shape[1])
        drawing = resampled(frames, g, draws, seed)
        everywhere = np.zeros(len(force), dtype=np.int64)

        def sums(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            parts = [drawing.sums(everywhere, 1, values=column) for column in values.T]
            return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts], axis=1)

        every, means, works, heats = map(sums, (np.ones((len(force), 1)), mean, work, heat))
        points, raw = (
            np.concatenate([a / n, b / c, b.sum(-1, keepdims=True) / c.sum(-1, keepdims=True)], axis=-1)
            for n, a, b, c in zip(every, means, works, heats, strict=True)
        )
        self.points, self.values = points, points + drawing.factors[:, None] * (raw - points)
        self.sd = without_tails(self.values, points, drawing.factors[:, None]).std(0, ddof=1)
        self.expected = np.repeat([0.0, 1.0], [force.shape[1], force.shape[1] + 1])

    def p_value(self) -> float:
        """Share of draws whose worst deviation from their centre is as large as that of the points from the truth."""
        worst = np.abs((self.points - self.expected) / self.sd).max()
        chance = np.abs((self.values - self.points) / self.sd).max(1)
        return float((1 + (chance >= worst).sum()) / (1 + len(chance)))

    def quantities(self) -> tuple[tuple[Quantity, ...], tuple[Quantity, ...], Quantity]:
        """Mean forces, temperature ratios, and that of all pairs together."""
        unit = "" if self.frames.positions.ndim == 2 else "kJ/mol/nm"
        count = self.force.shape[1]
        numbers = []
        for k, (point, sd, values) in enumerate(zip(self.points, self.sd, self.values.T, strict=True)):
            low, high = interval(values, 0.9)
            rest: dict[str, Any] = {"sd_by_source": {"sampling": float(sd)}}
            ends = (float(low), float(high))
            numbers.append(Quantity(float(point), float(sd), ends, values, unit if k < count else "", **rest))
        return tuple(numbers[:count]), tuple(numbers[count:-1]), numbers[-1]

    def scaled(self, factor: float) -> Identities:
        """The same for forces that are so many times smaller."""
        return Identities(self.frames, self.force / factor, self.length, self.draws, self.seed)


def pairs_of(frames: Frames, pairs: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pairs of atoms ``(k, 2)`` or coordinates ``(k,)`` and their labels."""
    size = frames.positions.shape[1]
    if frames.positions.ndim == 2:
        if pairs is not None:
            raise ConfigError("a toy system has coordinates, not pairs of atoms: leave pairs= out")
        return (columns := np.arange(size)[:_MOST]), tuple(f"x{k + 1}" for k in columns)
    if pairs is None:
        rows = _neighbours(frames.topology, size)
        rows = rows[evenly(rows, _MOST)]
    else:
        rows = np.asarray(list(pairs))
    wrong = rows.ndim != 2 or rows.shape[1] != 2 or not len(rows) or rows.dtype.kind not in "iu"
    if wrong or rows.min() < 0 or rows.max() >= size or (rows[:, 0] == rows[:, 1]).any():
        raise ConfigError(f"pairs={pairs!r}: give pairs of different atoms, numbered from 0 to {size - 1}")
    names = [str(k) for k in range(size)] if frames.topology is None else [str(a) for a in frames.topology.atoms]
    return rows, tuple(f"{names[a]}, {names[b]}" for a, b in rows)


def _neighbours(topology: Any, size: int) -> np.ndarray:
    """Pairs of atoms one or two bonds apart, ``(k, 2)``, the closer ones first; all where there are no bonds."""
    bonds = [] if topology is None else [(a.index, b.index) for a, b in topology.bonds]
    if not bonds:
        if size < 2:
            raise ConfigError("one atom alone makes no pair")
        return np.stack(np.triu_indices(size, 1), 1)
    bonded: list[set[int]] = [set() for _ in range(size)]
    for a, b in bonds:
        bonded[a].add(b)
        bonded[b].add(a)
    first = sorted({(min(a, b), max(a, b)) for a, b in bonds})
    across = {(min(a, b), max(a, b)) for middle in bonded for a in middle for b in middle if a < b}
    return np.array(first + sorted(across - set(first)))


def along_pairs(frames: Frames, rows: np.ndarray, which: np.ndarray, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Forces along the unit vectors of pairs, and distances, (n, pairs); forces are those of so many frames later."""
    force, length = np.empty((len(rows), len(which))), np.empty((len(rows), len(which)))
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        x = frames.gather(rows[part]).astype(np.float64)
        f = frames.gather(rows[part] + shift, "forces").astype(np.float64)
        if which.ndim == 1:
            force[part], length[part] = f[:, which], x[:, which]
            continue
        first, second = which.T
        d = x[:, first] - x[:, second]
        r = np.linalg.norm(d, axis=-1)
        if not r.all():
            frame, pair = np.argwhere(r == 0)[0]
            a, b = which[pair]
            raise DataError(f"frame {rows[part][frame]}: atoms {a} and {b} are at one place; leave it out")
        force[part], length[part] = ((f[:, first] - f[:, second]) * d).sum(-1) / r, r
    return force, length
