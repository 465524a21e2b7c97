"""What a fit without frames may have lost: its weights cannot tell, an independent sampler can."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from bayescg.analysis.reweighting import SAMPLES, UNRELIABLE, WORST_K, evidence, weighted_draws
from bayescg.errors import ConfigError
from bayescg.inference.functional import seeded
from bayescg.inference.importance import HasSystem, log_generated

if TYPE_CHECKING:
    from bayescg.inference import Fit
    from bayescg.sampling import Annealed
    from bayescg.systems import System

__all__ = ["Audit", "audit"]

RARE = 100.0
"""A place is missing where the generator is less dense than the system by more than this factor."""

_TOLERATED = 1e-3
_LARGEST_DEFICIT = 3.0


@dataclass(frozen=True)
class Audit:
    """How far the draws of a fit without frames can be trusted.

    Attributes
    ----------
    pareto_k, ess_fraction : float
        Of the fit's own weights. Both are blind to what the generator never visits.
    log_z, log_z_sd : float
        By the fit's own weights.
    reference_log_z, reference_log_z_sd : float
        By annealing from a broad base.
    forward_ess_fraction : float
        Effective fraction of the generator's draws as the reference sees it: near 0 where something is missing.
    missing_mass : float
        Probability of the places where the generator is less dense than the system by a factor of more than 100.
    missing_mass_ci90 : (float, float)
    energy_evaluations : int
        Of this audit, the forces of the annealing among them.
    warnings : tuple of str
    """

    pareto_k: float
    ess_fraction: float
    log_z: float
    log_z_sd: float
    reference_log_z: float
    reference_log_z_sd: float
    forward_ess_fraction: float
    missing_mass: float
    missing_mass_ci90: tuple[float, float]
    energy_evaluations: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON of a run's summary."""
        names = [n for n in self.__dataclass_fields__ if n != "warnings"]
        return {n: list(v) if isinstance(v := getattr(self, n), tuple) else v for n in names}


def audit(
    fit: Fit, reference: Annealed | None = None, samples: int = SAMPLES, particles: int = 64, seed: int = 0
) -> Audit:
    r"""Compare a fit without frames with an annealing of the same system from a broad base.

    A generator that has lost a well of probability m has the best of weights: its partition function is too small by
    :math:`-\log(1 - m)` nats, and that is all that it shows. The frames of the reference are in that well, though, and
    there the generator's density, :math:`q(x) = E_{r(z | x)}[q(x, z) / r(z \mid x)]`, is next to nothing.

    Parameters
    ----------
    fit : Fit
        Of a model that queries a system.
    reference : Annealed, optional
        From :func:`bayescg.sampling.smc`. Default: 100 islands of 1000 particles, which needs a system that knows its
        box.
    samples : int
        Draws of the fit.
    particles : int
        Values of the latent variables for each frame of the reference.
    seed : int

    Returns
    -------
    Audit

    Raises
    ------
    DataError
        The model learned from frames.
    ConfigError
        The system has no box for a default reference, or the reference has frames of another size.

    References
    ----------
    Del Moral, Doucet, Jasra, J. R. Stat. Soc. B 68, 411 (2006) for the reference. Forward effective sample size:
    Schopmans, Friederich, "Temperature-annealed Boltzmann generators", arXiv:2501.19077 (2025), appendix.
    """
    from bayescg.sampling import smc

    draws = weighted_draws(fit, samples, seed)
    own = evidence(draws)
    assert isinstance(fit.model, HasSystem)
    system = fit.model.system
    if reference is None:
        reference = smc(system, islands=100, particles=1000, seed=seed, progress=False)
    x = torch.as_tensor(reference.frames.positions).flatten(1)
    if x.shape[1] != system.dim:
        raise ConfigError(f"the reference has {x.shape[1]} coordinates, the system of the fit {system.dim}")
    log_q, log_p = _densities(fit, system, x, particles, seed)
    weight = np.asarray(reference.frames.weights, dtype=np.float64)
    weight /= weight.sum()
    log_w = log_p - reference.log_z - log_q  # density of the system over that of the generator
    missing, bounds = _fraction(log_w > math.log(RARE), weight, reference.islands)
    forward = -_log_mean(log_w, weight) - _log_mean(-log_w, weight)
    cost = reference.frames.provenance["cost"]
    spent = cost["energy_evaluations"] + cost["force_evaluations"]
    found = Audit(
        pareto_k=own.pareto_k,
        ess_fraction=own.ess_fraction,
        log_z=own.log_z,
        log_z_sd=own.log_z_sd,
        reference_log_z=reference.log_z,
        reference_log_z_sd=reference.log_z_sd,
        forward_ess_fraction=math.exp(min(forward, 0.0)),
        missing_mass=missing,
        missing_mass_ci90=bounds,
        energy_evaluations=samples + len(x) + spent,
    )
    return Audit(**{**found.__dict__, "warnings": tuple(_warnings(found))})


def _densities(fit: Fit, system: System, x: Tensor, particles: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log density of the generator and log Boltzmann factor of configurations."""
    log_q, log_p = [], []
    with seeded(seed, fit.device), torch.no_grad():
        for part in x.to(fit.device, next(fit.model.parameters()).dtype).split(2000):
            log_q.append(log_generated(fit.model, part, particles))
            log_p.append(system.log_prob(part))
    return torch.cat(log_q).double().cpu().numpy(), torch.cat(log_p).double().cpu().numpy()


def _fraction(chosen: np.ndarray, weight: np.ndarray, islands: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Probability of the chosen frames, with a 90 % interval from the islands' spread."""
    share = float(weight @ chosen)
    effective = 1.0 / float(np.square(weight).sum())
    none_seen = 1.0 - 0.05 ** (1.0 / effective)  # what could be there and yet show in no frame
    count = int(islands.max()) + 1
    deviations = np.bincount(islands, weight * (chosen - share), minlength=count) * count
    half = stats.t.ppf(0.95, count - 1) * deviations.std(ddof=1) / math.sqrt(count)
    return share, (max(0.0, share - half), max(share + half, none_seen))


def _log_mean(log_values: np.ndarray, weight: np.ndarray) -> float:
    top = log_values.max()
    return float(top + np.log(weight @ np.exp(log_values - top)))


def _warnings(found: Audit) -> list[str]:
    told = []
    low, high = found.missing_mass_ci90
    if low > 0 and found.missing_mass > _TOLERATED:
        told.append(
            f"the generator leaves out {found.missing_mass:.2%} of the probability (90 % interval {low:.2%} to "
            f"{high:.2%}), where annealing from a broad base has been: nothing reweighted is right there"
        )
    deficit, error = found.reference_log_z - found.log_z, math.hypot(found.log_z_sd, found.reference_log_z_sd)
    if deficit > _LARGEST_DEFICIT * error:
        told.append(
            f"log Z is {deficit:.4f} below that of annealing from a broad base, {deficit / error:.1f} standard errors: "
            f"{-math.expm1(-deficit):.2%} of the probability is missing"
        )
    if found.pareto_k > WORST_K:
        told.append(UNRELIABLE.format(found.pareto_k))
    return told
