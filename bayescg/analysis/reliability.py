"""Whether probabilities of commitment come true: fresh shots beside what a fit foretold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats

from bayescg.arguments import check_counts
from bayescg.errors import DataError, ModelError

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.inference import Fit

__all__ = ["Reliability", "commitment_probabilities", "log_probability_of_shots", "reliability"]

_LEAST = 1e-12


@dataclass(frozen=True)
class Reliability:
    """Probabilities of commitment, foretold and counted.

    Attributes
    ----------
    foretold, counted, sd : ndarray, (bins,)
        The reliability curve, over pairs of frame and region in bins of equal numbers: mean probability, share of the
        shots, and its standard deviation if the probabilities were right.
    shots : ndarray, (bins,)
        Shots in each bin.
    calibration_error : float
        Mean of abs(counted - foretold), each bin counting by its shots.
    expected_error : float
        What that would be by chance alone if the probabilities were right.
    log_score : float
        Mean log probability of where a shot ended, nats: the higher, the better.
    log_score_constant : float
        Of the same probabilities for all frames, the shares of all shots.
    inside : float
        Share of frames whose counts lie within the central 90 % that the fit foretold, draws of its parameters
        included, ties divided at random.
    """

    foretold: np.ndarray
    counted: np.ndarray
    sd: np.ndarray
    shots: np.ndarray
    calibration_error: float
    expected_error: float
    log_score: float
    log_score_constant: float
    inside: float

    def __repr__(self) -> str:
        return (
            f"Reliability(calibration error {self.calibration_error:.3f}, {self.expected_error:.3f} expected; log "
            f"score {self.log_score:.3f}, of constants {self.log_score_constant:.3f}; {self.inside:.0%} of the counts "
            "within 90 % intervals)"
        )


def commitment_probabilities(fit: Fit, x: Any) -> np.ndarray:
    """Draws of the probabilities that a trajectory from x reaches each region first, (draws, n, regions).

    With two regions the last is the committor. One draw for each refit; one in all where the uncertainty of the
    parameters does not reach the CVs.

    Parameters
    ----------
    fit : Fit
        Of :class:`bayescg.models.MultitaskCV`, or another model with `logits` of its CVs.
    x : Frames, Tensor or ndarray
        Positions (n, atoms, 3), or (n, dim).

    Raises
    ------
    ModelError
        The model says nothing of commitment.

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import MultitaskCV
    >>> model, frames, _ = MultitaskCV.example()
    >>> fit = bcg.fit(model, frames, steps=5, uncertainty="none", compile="off")
    >>> commitment_probabilities(fit, frames).shape
    (1, 60, 2)
    """
    logits = getattr(fit.model, "logits", None)
    if logits is None or not fit.model.fixed_cvs:
        raise ModelError(
            f"this {type(fit.model).__name__} did not learn where trajectories commit: fit MultitaskCV with "
            "'commitments' among its tasks to the frames of bcg.sampling.commitment"
        )
    with torch.no_grad():
        return logits(fit.cv_draws(x).double()).softmax(-1).cpu().numpy()


def reliability(fit: Fit, shots: Frames, bins: int = 10, seed: int = 0) -> Reliability:
    """Compare foretold probabilities of commitment with fresh shots.

    Parameters
    ----------
    fit : Fit
        As for `commitment_probabilities`.
    shots : Frames
        Of :func:`bayescg.sampling.commitment`, from configurations that the fit was not trained on.
    bins : int
    seed : int
        Of how ties are divided.

    Raises
    ------
    DataError
        The frames hold no shots, or of other regions.
    ModelError
        The model says nothing of commitment.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, eq. (3), with bins of equal
    numbers; Czado, Gneiting, Held, "Predictive model assessment for count data", Biometrics 65, 1254 (2009), section 2,
    for ties divided at random.

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import MultitaskCV
    >>> model, frames, _ = MultitaskCV.example()
    >>> fit = bcg.fit(model, frames, steps=20, learning_rate=0.1, uncertainty="none", compile="off")
    >>> bool(reliability(fit, frames).log_score > reliability(fit, frames).log_score_constant)
    True
    """
    check_counts(bins=(bins, 1), seed=(seed, 0))
    counts, draws = _counts_and_draws(fit, shots)
    shot = counts.sum(1) > 0
    counts, draws = counts[shot], draws[:, shot]
    total, p = counts.sum(1), draws.mean(0)
    pairs = np.array_split(np.argsort(p[:, 1:].ravel()), min(bins, p[:, 1:].size))
    n, k, q = (a.ravel() for a in (np.broadcast_to(total[:, None], p[:, 1:].shape), counts[:, 1:], p[:, 1:]))
    foretold, counted, sd, number = np.array(
        [
            ((n * q)[b].sum() / n[b].sum(), k[b].sum() / n[b].sum(), _spread(n[b], draws, q, b), n[b].sum())
            for b in pairs
        ]
    ).T
    weight = number / number.sum()
    share = np.maximum(counts.sum(0) / counts.sum(), _LEAST)
    below, upto = (stats.binom.cdf(counts[:, 1:] - less, total[:, None], draws[:, :, 1:]).mean(0) for less in (1, 0))
    place = below + (upto - below) * np.random.default_rng(seed).random(below.shape)
    return Reliability(
        foretold, counted, sd, number,
        calibration_error=float(weight @ np.abs(counted - foretold)),
        expected_error=float(weight @ sd * np.sqrt(2 / np.pi)),
        log_score=float((counts * np.log(np.maximum(p, _LEAST))).sum() / counts.sum()),
        log_score_constant=float((counts.sum(0) * np.log(share)).sum() / counts.sum()),
        inside=float(((place > 0.05) & (place < 0.95)).mean()),
    )  # fmt: skip


def log_probability_of_shots(fit: Fit, shots: Frames) -> np.ndarray:
    """Log probability of where each frame's shots ended, in one order, by the mean of the draws, nats, ``(n,)``."""
    counts, draws = _counts_and_draws(fit, shots)
    return (counts * np.log(np.maximum(draws.mean(0), _LEAST))).sum(1)


def _counts_and_draws(fit: Fit, shots: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Shots ``(n, regions)`` and foretold probabilities ``(draws, n, regions)``, of the same regions."""
    draws = commitment_probabilities(fit, shots)
    if shots.commitments is None or not shots.commitments.any():
        raise DataError("these frames hold no shots: bcg.sampling.commitment counts where they end")
    if shots.commitments.shape[1] != draws.shape[2]:
        raise DataError(f"shots of {shots.commitments.shape[1]} regions for a fit of {draws.shape[2]}")
    learned: Any = fit.model
    theirs, ours = list(shots.provenance.get("regions", learned.regions)), list(learned.regions)
    if theirs != ours:
        raise DataError(f"the shots are to {theirs}, and the fit learned of {ours}, in this order")
    return shots.commitments, draws


def _spread(n: np.ndarray, draws: np.ndarray, q: np.ndarray, b: np.ndarray) -> float:
    """Standard deviation of the share that is counted in a bin: of shots, and of the draws of the parameters."""
    of_draws = draws[:, :, 1:].reshape(len(draws), -1)[:, b] @ n
    return float(np.sqrt((n * q[b] * (1 - q[b])).sum() + of_draws.var()) / n.sum())
