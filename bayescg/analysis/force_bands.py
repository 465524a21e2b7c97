"""Energies and forces of a learned potential with error bars, and where these mean nothing any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg.arguments import check_counts, check_numbers
from bayescg.data import Frames, evenly
from bayescg.errors import DataError, ModelError
from bayescg.inference import Fit

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ForceBands", "calibrated", "force_bands"]

_PAIRS = 4_000_000
"""Pairs of particles, over all draws, that are computed at once."""

_BEYOND = 3.0
"""Times the 99 % quantile of the training frames, above which a standard deviation of a force is out of its depth."""

_RANGE = 4.0
"""Powers of ten between which the factor of a calibration is sought."""


@dataclass(frozen=True)
class ForceBands:
    """Energies and forces of a learned potential, with standard deviations by its parameters.

    Attributes
    ----------
    energy, energy_sd : ndarray, (n,)
        Of a potential that learned from forces alone, only differences of energies mean anything.
    forces, forces_sd : ndarray, (n, dim)
    limit : float or None
        Three times the 99 % quantile of `forces_sd` over the training frames; None where these are not at hand, as of
        a fit that was loaded: set its ``fit.frames``.
    """

    energy: np.ndarray
    energy_sd: np.ndarray
    forces: np.ndarray
    forces_sd: np.ndarray
    limit: float | None

    @property
    def beyond(self) -> np.ndarray:
        """Which frames have a force that is less certain than `limit`, bool ``(n,)``: the potential extrapolates there.

        Even the error bars are then those of the prior: do not use these frames.
        """
        return self.forces_sd.max(1) > (np.inf if self.limit is None else self.limit)

    @property
    def warning(self) -> str | None:
        """What a reader of averages over these frames should know."""
        if self.limit is None:
            return (
                "where the potential extrapolates is not known without the frames that it was trained on: set "
                "fit.frames to them"
            )
        rows = np.flatnonzero(self.beyond)
        if not len(rows):
            return None
        frame, coordinate = rows[0], int(self.forces_sd[rows[0]].argmax())
        return (
            f"the potential extrapolates in {len(rows)} of {len(self.energy)} frames, first in frame {frame} at "
            f"coordinate {coordinate} (particle {coordinate // 3}), whose force is uncertain by "
            f"{self.forces_sd[frame, coordinate]:.3g}, above {self.limit:.3g}, three times nearly all that "
            "training saw: label such frames and train again, and do not trust what a simulation shows there"
        )


def force_bands(fit: Fit, frames: Any, draws: int = 200, seed: int = 0) -> ForceBands:
    """Energies and forces of configurations by a learned potential, with the uncertainty of its parameters.

    Parameters
    ----------
    fit : Fit
        Of a model with a potential, such as :class:`bayescg.models.NeuralPotential`, and with draws of its parameters.
    frames : Frames, ndarray or Tensor
        Positions ``(n, atoms, 3)`` or ``(n, dim)``.
    draws : int
        Of the parameters; of refits at most as many as there are.
    seed : int

    Raises
    ------
    ModelError
        The model has no potential, or the fit no parameter uncertainty.
    DataError
        A position is not finite.

    Examples
    --------
    >>> import bayescg as bcg
    >>> model, frames, _ = bcg.models.NeuralPotential.example()
    >>> fit = bcg.fit(model, frames, steps=20, validation=0.0, compile="off", progress=False)
    >>> force_bands(fit, frames, draws=5).forces_sd.shape
    (24, 12)
    """
    check_counts(draws=(draws, 2))
    bands = _bands(fit, _flat(frames), draws, seed)
    limit = fit.diagnostics.get("force_sd_limit")
    if limit is None and fit.frames is not None:
        train = _flat(fit.frames.subset(evenly(fit.frames, 200)))
        limit = _limit(_bands(fit, train, draws, seed)[3])
    return ForceBands(*bands, limit)


def calibrated(fit: Fit, frames: Frames, level: float = 0.9, draws: int = 200, seed: int = 0) -> Fit:
    r"""A fit whose bands hold the forces of held-out frames as often as they should.

    Labels of an engine have no noise, so that what the data say of the parameters, in units of the misfit, is right up
    to a factor only: one :math:`\eta` by which it counts, :math:`\Lambda + \eta N F` the precision, is set so that a
    fraction `level` of the forces (energies, where there are no forces) lies in the interval of this level. Where the
    data say nothing, the prior's width stays as it is. `Fit.diagnostics` says the factor, and where the bands end that
    training knows.

    Parameters
    ----------
    fit : Fit
        With ``uncertainty="laplace"``.
    frames : Frames
        With forces or energies; not those of training, nor neighbours of them in time.
    level : float
    draws : int
        Of the parameters.
    seed : int

    Raises
    ------
    DataError
        The frames have neither forces nor energies.
    ModelError
        The fit has no Laplace posterior, or the model no potential.

    References
    ----------
    Grünwald, van Ommen, "Inconsistency of Bayesian inference for misspecified linear models, and a proposal for
    repairing it", Bayesian Anal. 12, 1069 (2017), for the power of the likelihood.
    """
    check_numbers(level=(level, "(0, 1)"))
    if fit.weights.kind != "laplace":
        raise ModelError(f"a fit of uncertainty={fit.weights.kind!r} is not calibrated so: use uncertainty='laplace'")
    if frames.forces is None and frames.energy is None:
        raise DataError("the frames have neither forces nor energies to compare with")
    x, of_forces = _flat(frames), frames.forces is not None
    truth = np.asarray(frames.forces if of_forces else frames.energy, dtype=np.float64).reshape(len(frames), -1)
    width = float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(0.5 + 0.5 * level)))

    def of(power: float) -> Fit:
        return Fit(fit.model, fit.weights.tempered(10.0**power), fit.settings, dict(fit.diagnostics), fit.cost, fit.log)

    def covered(power: float) -> float:
        energy, energy_sd, forces, forces_sd = _bands(of(power), x, draws, seed)
        mean, sd = (forces, forces_sd) if of_forces else (energy[:, None], energy_sd[:, None])
        hit = np.abs(mean - truth) <= width * sd
        return float(hit[~np.isnan(truth)].mean())

    low, high = -_RANGE, _RANGE
    for _ in range(12):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if covered(middle) > level else (low, middle)
    result = of(low)
    result.frames = fit.frames
    factor = {"eta": 10.0**low, "level": level, "frames": len(frames)}
    result.diagnostics |= {"calibration": factor, "force_sd_limit": None}
    if abs(low) > _RANGE - 0.1:
        warned = (
            f"no factor of the data makes intervals hold {level:.0%} of the held-out labels: the model is too stiff"
        )
        result.diagnostics["warnings"] = [*result.diagnostics.get("warnings", []), warned]
    if fit.frames is not None:
        train = _flat(fit.frames.subset(evenly(fit.frames, 200)))
        result.diagnostics["force_sd_limit"] = _limit(_bands(result, train, draws, seed)[3])
    return result


def _flat(frames: Any) -> Tensor:
    x = torch.as_tensor(frames.gather(slice(None)) if isinstance(frames, Frames) else frames).flatten(1)
    if len(bad := (~x.isfinite().all(1)).nonzero()):
        raise DataError(f"positions of frame {int(bad[0])} are not finite")
    return x


def _limit(sd: np.ndarray) -> float:
    return _BEYOND * float(np.quantile(sd, 0.99))


def _bands(fit: Fit, x: Tensor, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Energies, their standard deviations, forces and theirs."""
    draws = min(draws, fit.weights.members or draws)
    mean, many = fit.system(), fit.system(draws=draws, seed=seed)
    size = max(1, _PAIRS // (draws * (x.shape[1] // 3) ** 2))
    rows = []
    for part in x.split(size):
        repeated = part.repeat(draws, 1)
        with torch.no_grad():
            energy = many.energy(repeated).double().view(draws, -1).std(0)
            forces = many.forces(repeated).double().view(draws, len(part), -1).std(0)
            rows.append((mean.energy(part).double(), energy, mean.forces(part).double(), forces))
    energy, energy_sd, forces, forces_sd = (torch.cat(column).cpu().numpy() for column in zip(*rows, strict=True))
    return energy, energy_sd, forces, forces_sd
