"""Whether forces belong to frames: two identities that hold at equilibrium, without any model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayescg.analysis.quantity import Quantity
from bayescg.analysis.stein_identities import Identities, along_pairs, pairs_of
from bayescg.arguments import check_counts, check_numbers
from bayescg.data import Frames, evenly, heavy_force
from bayescg.errors import DataError

__all__ = ["SteinCheck", "stein_check", "warn_of_forces"]

_VALUES = 20_000_000
_ALONE = 0.02  # smaller ratios are no scale
_NEAR = 0.15  # of a unit; temperatures are seldom further off
_UNRELATED = 0.3
_ENOUGH, _SELDOM = 200, 1e-3
"""Frames, and how often right forces are to fail, where they are checked before they are learned from."""
_KNOWN = {
    4.184: "kJ/mol where kcal/mol are meant",
    1 / 4.184: "kcal/mol where kJ/mol are meant",
    10.0: "per angstrom where per nm is meant, the other way round",
    0.1: "per angstrom where per nm is meant",
    41.84: "kJ/mol/nm where kcal/mol/angstrom are meant",
    1 / 41.84: "kcal/mol/angstrom where kJ/mol/nm are meant",
    -1.0: "gradients of the energy where forces are meant, which are minus these",
}
"""What makes forces so many times too large."""
_LENGTHS = (10.0, 0.1, 41.84, 1 / 41.84)


@dataclass(frozen=True)
class SteinCheck:
    """How well forces and frames of a system go together.

    Attributes
    ----------
    labels : tuple of str
        Of the pairs of atoms or beads, or of the coordinates of a toy system.
    mean_force : tuple of Quantity
        Of each, what should be 0, in the unit of the forces.
    temperature_ratio : tuple of Quantity
        Of each, the temperature that the forces have over that of the frames, which should be 1.
    overall : Quantity
        That of all pairs together.
    p_value : float
        How often right forces would look as wrong as this in the worst of all these numbers.
    level : float
        How often right forces are to fail.
    cause : str
        Of a failure, as far as it shows; else empty.
    heavy : str
        Of a single frame whose forces outweigh all others, so that no error bar is right; else empty.
    """

    labels: tuple[str, ...]
    mean_force: tuple[Quantity, ...]
    temperature_ratio: tuple[Quantity, ...]
    overall: Quantity
    p_value: float
    level: float
    cause: str = ""
    heavy: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong that the data could show."""
        return self.p_value >= self.level and not self.heavy

    @property
    def z(self) -> np.ndarray:
        """Deviations ``(labels, 2)`` of mean force and temperature in standard errors."""
        both = zip(self.mean_force, self.temperature_ratio, strict=True)
        return np.array([[force.mean / force.sd, (ratio.mean - 1) / ratio.sd] for force, ratio in both])

    @property
    def reason(self) -> str:
        """What was found: a sentence."""
        if self.heavy:
            return self.heavy
        names = [*(f"the {of} of {label}" for label in self.labels for of in ("mean force", "temperature"))]
        names.append("the temperature of all pairs together")
        z = np.append(self.z.ravel(), (self.overall.mean - 1) / self.overall.sd)
        worst = int(np.abs(z).argmax())
        where = (
            f"the largest of {len(z)} deviations is {z[worst]:+.1f} standard errors, in {names[worst]} "
            f"(p = {self.p_value:.2g} for all of them)"
        )
        if self.passed:
            return f"forces and frames go together: {where}"
        return f"forces do not belong to these frames at this temperature: {where}; {self.cause}"

    def __repr__(self) -> str:
        width = max(map(len, (*self.labels, "pair")))
        lines = [f"SteinCheck({'passed' if self.passed else 'NOT passed'}: {self.reason})"]
        lines.append(f"  {'pair':<{width}}  mean force: z   T(forces)/T   90 % interval       z")
        rows = [
            (label, f"{force:.1f}", ratio, scale)
            for label, (force, scale), ratio in zip(self.labels, self.z, self.temperature_ratio, strict=True)
        ]
        rows.append(("all", "", self.overall, (self.overall.mean - 1) / self.overall.sd))
        for label, force, ratio, scale in rows:
            low, high = ratio.ci90 or (math.nan, math.nan)
            ends = f"[{low:.3f}, {high:.3f}]"
            lines.append(f"  {label:<{width}}  {force:>13}  {ratio.mean:12.3f}   {ends:<16} {scale:5.1f}")
        return "\n".join(lines)


def stein_check(
    frames: Frames,
    pairs: Sequence[tuple[int, int]] | None = None,
    *,
    level: float = 0.01,
    draws: int = 4000,
    seed: int = 0,
) -> SteinCheck:
    r"""Ask whether forces belong to frames, before a potential is learned from them.

    For every smooth field h of positions, :math:`\langle F \cdot h \rangle + kT \langle \nabla \cdot h \rangle = 0` at
    equilibrium, and so it is for forces on beads by any right map. With h along the unit vector e of a pair at distance
    r, :math:`\langle (F_I - F_J) \cdot e + 4 kT / r \rangle = 0`; with :math:`h = (r - \bar r) e` a temperature
    follows from the forces, which is to be that of the frames. Units, signs, temperatures, constraints that were not
    taken into account and forces of other frames show in either.

    Parameters
    ----------
    frames : Frames
        With forces and a temperature: of atoms, of beads (:func:`bayescg.sampling.mapped_forces`) or of a toy system.
        Weights count.
    pairs : sequence of (int, int), optional
        Default: bonded ones, and those with a common neighbour; without bonds all; at most 100 of them. Of a toy system
        all coordinates are looked at instead, with h = 1 and :math:`h = x - \bar x`.
    level : float
        How often right forces are to fail, by the worst of all pairs in both versions, and of all together.
    draws, seed : int
        Of the bootstrap over blocks of frames.

    Returns
    -------
    SteinCheck
        `passed`, `reason`, and a table when printed.

    Raises
    ------
    DataError
        The frames have no forces, only zeros, or no temperature, or are too few.
    ConfigError
        A pair is not two different atoms.

    Notes
    -----
    A cause is named where undoing it heals the forces: they are divided by their common temperature ratio, and moved by
    one frame in either direction. An equilibrium within each basin is enough; populations of basins do not matter.

    Of 200 sets of 500 independent frames of a Gaussian chain, whose forces were right, 0, 7 and 20 failed at levels of
    0.01, 0.05 and 0.1; of 200 sets of 4000 correlated frames 4, 14 and 23.

    Source
    ------
    Stein, Proc. Sixth Berkeley Symp. 2, 583 (1972); the temperature is that of Butler, Ayton, Jepps, Evans, J. Chem.
    Phys. 109, 6519 (1998).

    Examples
    --------
    >>> import bayescg as bcg
    >>> well = bcg.systems.Harmonic((1.0, 4.0))
    >>> frames = bcg.sampling.langevin(well, 2000, dt=0.1, chains=100, stride=10, forces=True)
    >>> stein_check(frames).passed
    True
    >>> from dataclasses import replace
    >>> stein_check(replace(frames, forces=4.184 * frames.forces)).cause
    'forces are 4.18 times too large: kJ/mol where kcal/mol are meant'
    """
    check_numbers(level=(level, "(0, 1)"))
    check_counts(draws=(draws, 100), seed=(seed, 0))
    if frames.forces is None:
        raise DataError(
            "the frames have no forces: keep them in the simulation, or let bcg.sampling.mapped_forces compute them"
        )
    which, labels = pairs_of(frames, pairs)
    if not np.any(frames.forces):
        raise DataError("all forces of the frames are 0: they were never written, it seems")
    rows = evenly(frames, max(1000, _VALUES // len(labels)))
    part = frames if len(rows) == len(frames) else frames.subset(rows)
    identities = Identities(part, *along_pairs(frames, rows, which), draws, seed)
    check = SteinCheck(labels, *identities.quantities(), identities.p_value(), level, heavy=heavy_force(frames))
    return check if check.passed else replace(check, cause=_cause(frames, rows, which, check, identities))


def warn_of_forces(frames: Frames) -> None:
    """Check forces before they are learned from, of at least 200 frames; right ones are to fail once in a thousand.

    Warns
    -----
    UserWarning
        They are not those of the frames.
    """
    if len(frames) >= _ENOUGH:
        check = stein_check(frames, level=_SELDOM, draws=2000)
        if not check.passed:
            warnings.warn(check.reason, stacklevel=3)


def _cause(frames: Frames, rows: np.ndarray, which: np.ndarray, check: SteinCheck, identities: Identities) -> str:
    """What heals the forces, in words; or where they are wrong."""
    factor, cures = check.overall.mean, {}
    if abs(factor) > _ALONE:
        cures[_scale(frames, factor)] = identities.scaled(factor)
    for shift, other in ((1, "after"), (-1, "before")) if frames.order is not None else ():
        inside = rows[(rows + shift >= 0) & (rows + shift < len(frames))]
        inside = inside[frames.trajectory[inside] == frames.trajectory[inside + shift]]
        if len(inside) > len(rows) // 2:
            moved = along_pairs(frames, inside, which, shift)
            words = f"positions and forces are out of step: the forces of a frame stand with the frame {other} it"
            cures[words] = Identities(frames.subset(inside), *moved, identities.draws, identities.seed)
    healed = [words for words, cure in cures.items() if cure.p_value() >= check.level]
    if healed:
        return "; or ".join(healed)
    if max(abs(quantity.mean) for quantity in check.temperature_ratio) < _UNRELATED:
        return "forces have next to nothing to do with positions: they are of other frames, or atoms in another order"
    wrong = np.flatnonzero(np.abs(check.z).max(1) > 3)
    names = "; ".join(check.labels[k] for k in wrong[:4]) + "; ..." * (len(wrong) > 4)
    return (
        "neither another unit or temperature nor a shift by a frame explains it: bonds were constrained and the map "
        f"does not tie them, the time step was too long, or the frames are not in equilibrium (pairs {names})"
    )


def _scale(frames: Frames, factor: float) -> str:
    """What makes forces so many times too large."""
    for exact, words in _KNOWN.items():
        if frames.temperature is None and exact in _LENGTHS:  # reduced units have none of length
            continue
        if abs(factor / exact - 1) < _NEAR:
            return f"forces are {exact:.3g} times too large: {words}"
    words = f"forces are {factor:.3g} times too large"
    if factor < 0:
        return words
    if frames.temperature is None:
        return f"{words}, or were computed at kT = {factor * frames.kT:.3g} in place of {frames.kT:.3g}"
    return f"{words}, or simulated at {factor * frames.temperature:.0f} K in place of {frames.temperature:.0f} K"
