"""What each of several models makes of each frame or pair, gathered in blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bayescg.analysis.comparing.conformations import log_volume
from bayescg.analysis.reliability import log_probability_of_shots
from bayescg.data import Frames, Pairs, Stretches, neighbours_resemble, seen_by_blocks, statistical_inefficiency
from bayescg.errors import DataError
from bayescg.features import Features
from bayescg.feeding.chunks import chunks
from bayescg.inference import Fit
from bayescg.systems import System

__all__ = ["BY_FRAME", "BlockScores", "by_pairs", "in_blocks", "trajectory_of"]

_BLOCKS = (3, 20)
_CHUNK = 4096
_FEWEST = 4


@dataclass(frozen=True)
class BlockScores:
    """Scores of all candidates in the same blocks.

    Attributes
    ----------
    of : dict of str to ndarray, (trainings, blocks)
    memory : float
        Of what tells candidates apart, as a part of all frames.
    seen : float
        Part of the variance that the blocks show.
    worth : float
        Independent frames that all are worth.
    in_sample : dict of str to float
    densities : dict of str to ndarray, (n,)
        Log densities, of several trainings that of their even mixture; empty where the scores are none.
    weight : ndarray, (n,)
    warnings : list of str
        About the trainings.
    unfinished : dict of str to float
        By how much the loss of a training still fell over the second half of its steps, a mean over trainings, nats.
    """

    of: dict[str, np.ndarray]
    memory: float
    seen: float = 1.0
    worth: float = 1.0
    in_sample: dict[str, float] = field(default_factory=dict)
    densities: dict[str, np.ndarray] = field(default_factory=dict)
    weight: np.ndarray = field(default_factory=lambda: np.ones(0))
    warnings: list[str] = field(default_factory=list)
    unfinished: dict[str, float] = field(default_factory=dict)


def in_blocks(
    series: Mapping[str, np.ndarray],
    trajectory: np.ndarray | None,
    weight: np.ndarray | None,
    blocks: int | None = None,
    fold: np.ndarray | None = None,
) -> BlockScores:
    """Gather scores of single frames in blocks.

    Parameters
    ----------
    series : mapping of str to ndarray, (trainings, n)
    trajectory : ndarray, (n,) or None
        Of each frame, which follow each other in time; None: they are independent.
    weight : ndarray, (n,) or None
    blocks : int, optional
        None: as many, up to 20, as are long against what differences between candidates remember.
    fold : ndarray, (n,), optional
        Blocks that are there already, each scored by fits of its own.
    """
    n = next(iter(series.values())).shape[1]
    w = np.ones(n) if weight is None else np.asarray(weight, np.float64)
    columns = np.stack([values.mean(0) for values in series.values()], 1)
    apart = columns - columns[:, :1] if len(series) > 1 else columns
    if fold is not None:  # what its own training does to a fold is no memory of the frames
        sizes = np.bincount(fold)
        apart = apart - np.stack([np.bincount(fold, column) / sizes for column in apart.T], 1)[fold]
    g = 1.0
    if trajectory is None and neighbours_resemble(apart, np.zeros(n)):  # without a time axis, but one after the other
        trajectory = np.zeros(n)
    if trajectory is not None and np.ptp(apart, axis=0).any():
        g = statistical_inefficiency(apart, trajectory)
    count = int(np.clip(n / (5 * g), *_BLOCKS)) if blocks is None else blocks
    ids = np.arange(n) * count // n if fold is None else fold
    total = np.bincount(ids, w)
    of = {name: np.stack([np.bincount(ids, w * row) / total for row in rows]) for name, rows in series.items()}
    worth = float(w.sum() ** 2 / np.square(w).sum()) / g
    return BlockScores(of, g / n, seen_by_blocks(g, n / len(total)), worth, weight=w)


def _log_density(fit: Fit, data: Frames | Pairs | Stretches) -> np.ndarray:
    """Log density of each frame, of the later frame of each pair, or of each stretch, at the trained values, ``(n,)``.

    Raises
    ------
    DataError
        One is not finite.
    """
    density = fit.log_density(data)[0].double().cpu().numpy() - log_volume(fit, data)
    if fit.model.pair_density == "features":  # whitened by each fit's own training frames
        back = fit.model.scale.back.double()  # type: ignore[union-attr]
        density = density - 0.5 * float(torch.logdet(back @ back.T))  # type: ignore[operator]
    return _finite(density, f"the log density by {type(fit.model).__name__}")


def _minus_squared_force_error(potential: Fit | System, frames: Frames) -> np.ndarray:
    """Minus the mean square over components of the force that a potential misses, for each frame, ``(n,)``."""
    system = potential.system() if isinstance(potential, Fit) else potential
    if isinstance(potential, Fit) and isinstance(features := getattr(potential.model, "features", None), Features):
        features.check_frames(frames)
    like = next(potential.model.parameters()) if isinstance(potential, Fit) else None
    parts, start = [], 0
    for x in chunks(frames, like):
        forces = system.forces(x.flatten(1)).detach().double().cpu().numpy().reshape(len(x), -1)
        observed = frames.gather(np.arange(start, start + len(x)), "forces").reshape(len(x), -1)
        parts.append(-np.square(forces - observed).mean(1))
        start += len(x)
    return _finite(np.concatenate(parts), "the force")


def _minus_squared_step_error(fit: Fit, pairs: Pairs) -> np.ndarray:
    """Minus the mean square of what a map misses of the later state of each pair, ``(n,)``.

    In units of how far each coordinate and momentum moves over all pairs, so that one that stays where it is has -1.
    """
    leap, errors, moved = fit.map(lag=pairs.lag), [], []
    for start in range(0, len(pairs), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(pairs)))
        (q, q_later), (p, p_later) = (
            (torch.as_tensor(end).double().flatten(1) for end in pairs.gather(rows, field))
            for field in ("positions", "momenta")
        )
        step = leap.step(q, p)
        errors.append(torch.cat([step.q - q_later, step.p - p_later], 1).detach())
        moved.append(torch.cat([q_later - q, p_later - p], 1))
    size = torch.cat(moved).square().mean(0).sqrt()
    return _finite((-(torch.cat(errors) / size).square().mean(1)).numpy(), "the step")


BY_FRAME: Mapping[str, Callable[[Any, Any], np.ndarray]] = {
    "log_score": _log_density,
    "forces": _minus_squared_force_error,
    "commitments": log_probability_of_shots,
    "steps": _minus_squared_step_error,
}
"""What a fit makes of each frame or pair, by the score's name."""


def by_pairs(score: str, model: Any) -> bool:
    """Whether a score is of pairs of frames."""
    return score == "steps" or (score == "log_score" and model.needs_pairs)


def trajectory_of(data: Frames | Pairs | Stretches) -> np.ndarray | None:
    """Which trajectory each frame, pair or stretch is of, ``(n,)``; None where they have no order, or each its own.

    Of stretches also where no trajectory has enough of them to tell how long they remember.
    """
    if data.order is None:
        return None
    of = data.frames.trajectory[data.i] if isinstance(data, Pairs) else data.trajectory
    least = _FEWEST if isinstance(data, Stretches) else 2
    return None if np.unique(of, return_counts=True)[1].max() < least else of


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(
            f"{what} is not finite for {len(bad)} of {len(values)} frames (the first: {bad[:5].tolist()}); it describes"
            " nothing there: leave it out of the comparison, or train it otherwise"
        )
    return values
