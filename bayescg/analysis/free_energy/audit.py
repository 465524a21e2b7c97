"""What a fit without frames may have lost: its weights cannot tell, an independent sampler can."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats
from scipy.special import logsumexp
from torch import Tensor

from bayescg.analysis.block_bootstrap import block_ids, inefficiency, weights_of
from bayescg.analysis.evaluation import CHUNK
from bayescg.analysis.free_energy.broad import anneal_from_broad, cost_of
from bayescg.arguments import check_counts
from bayescg.data import Frames, effective_frames
from bayescg.errors import ConfigError
from bayescg.inference.reweighting import (
    FEW,
    SAMPLES,
    TOO_FEW,
    UNRELIABLE,
    WORST_K,
    Evidence,
    check_queries,
    evidence,
    weighted_draws,
)
from bayescg.modelling import SystemModel
from bayescg.modelling.schedules.importance import log_generated, log_physics
from bayescg.recording.functional import seeded

if TYPE_CHECKING:
    from bayescg.inference import Fit
    from bayescg.sampling import Annealed

__all__ = ["Audit", "audit"]

RARE = 100.0
"""A place is missing where the generator is less dense than the system by more than this factor."""

_TOLERATED = 1e-3
_LARGEST_DEFICIT = 3.0
_FEWEST_SAMPLES = 10_000
_FEWEST = 10
"""Effective frames of a reference, below which it says next to nothing."""


@dataclass(frozen=True)
class Audit(Evidence):
    """How far the draws of a fit without frames can be trusted.

    Beside what the fit's own weights say, which is blind to what the generator never visits:

    Attributes
    ----------
    reference : str
        What the fit was compared with.
    reference_log_z, reference_log_z_sd : float or None
        By annealing from a broad base; None where the reference is frames, which do not tell.
    forward_ess_fraction : float
        Effective fraction of the generator's draws as the reference sees it: near 0 where something is missing.
    missing_mass : float
        Probability of the places where the generator is less dense than the system by a factor of more than 100.
    missing_mass_ci90 : (float, float)
    guarded_fraction : float or None
        How many of the energies of the training were above the cut of their guard.
    energy_evaluations : int
        Of this audit, the forces of the annealing among them.
    warnings : tuple of str
    """

    reference: str
    reference_log_z: float | None
    reference_log_z_sd: float | None
    forward_ess_fraction: float
    missing_mass: float
    missing_mass_ci90: tuple[float, float]
    guarded_fraction: float | None
    energy_evaluations: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON of a run's summary."""
        names = [n for n in self.__dataclass_fields__ if n != "warnings"]
        return {n: list(v) if isinstance(v := getattr(self, n), tuple) else v for n in names}


def audit(
    fit: Fit,
    reference: Annealed | Frames | None = None,
    samples: int | None = None,
    particles: int = 64,
    seed: int = 0,
    evaluations: int | None = None,
) -> Audit:
    r"""Compare a fit without frames with an independent sample of the same system.

    A generator that has lost a well of probability m has the best of weights: its partition function is too small by
    :math:`-\log(1 - m)` nats, and that is all that it shows. The frames of the reference are in that well, though, and
    there the generator's density, :math:`q(x) = E_{r(z | x)}[q(x, z) / r(z \mid x)]`, is next to nothing.

    The fit keeps the warnings, ``fit.diagnostics["audit"]``: a free energy of its own draws repeats them, and has no
    intervals where probability is missing.

    Parameters
    ----------
    fit : Fit
        Of a model that queries a system.
    reference : Annealed or Frames, optional
        From :func:`bayescg.sampling.smc`, or frames of simulations that visit all wells, at the system's temperature;
        fewer than 10 effective frames are warned of.
        Default: annealing from a broad base (``bayescg.analysis.free_energy.broad``).
    samples : int, optional
        Draws of the fit. Default: 200 000, or a quarter of `evaluations` where that is less.
    particles : int
        Values of the latent variables for each frame of the reference.
    seed : int
    evaluations : int, optional
        Energies and forces in all, where there is no reference: the more, the smaller a mode that can be found; with
        one of probability m, it takes some 5 / m particles of a few hundred each, of a molecule of 10 000. Default: as
        many as the fit took; of a fit that took none, as many as 2500 particles need.

    Returns
    -------
    Audit

    Raises
    ------
    DataError
        The model learned from frames.
    ConfigError
        The reference is neither of the two, is a single frame, or has frames of another size or temperature.

    References
    ----------
    Del Moral, Doucet, Jasra, J. R. Stat. Soc. B 68, 411 (2006) for the reference. Forward effective sample size:
    Schopmans, Friederich, "Temperature-annealed Boltzmann generators", arXiv:2501.19077 (2025), appendix.
    """
    from bayescg.sampling import Annealed

    if not (reference is None or isinstance(reference, Annealed | Frames)):
        raise ConfigError(
            f"the reference is of type {type(reference).__name__}: give frames, bcg.data.Frames.from_numpy(x, ...), or "
            "what bcg.sampling.smc returns"
        )
    check_counts(particles=(particles, 1))
    if evaluations is not None:
        check_counts(evaluations=(evaluations, 1))
    check_queries(fit)
    budget = evaluations or fit.cost["energy_evaluations"] or math.inf
    samples = int(max(_FEWEST_SAMPLES, min(SAMPLES, budget / 4))) if samples is None else samples
    draws = weighted_draws(fit, samples, seed)
    by_weights = evidence(draws)
    assert isinstance(fit.model, SystemModel)
    spent = 0
    if reference is None:
        reference, x, spent = anneal_from_broad(fit, draws, budget - samples, seed)
    else:
        x = _inputs(fit, reference if isinstance(reference, Frames) else reference.frames)
    log_q, log_p = _densities(fit, x, particles, seed)
    log_z, log_z_sd, source, g = None, None, "the frames", 1.0
    if isinstance(reference, Frames):
        weights = weights_of(reference)
        g = inefficiency(log_p - log_q, reference)
        blocks = block_ids(reference, g)
    else:
        log_z, log_z_sd, source = reference.log_z, reference.log_z_sd, "annealing from a broad base"
        weights, blocks = weights_of(reference.frames), reference.islands
        spent += cost_of(reference)
    weights = weights / weights.sum()
    log_w = log_p - (by_weights.log_z if log_z is None else log_z) - log_q  # density of the system over the generator's
    counted = effective_frames(weights) / g
    missing, bounds = _fraction(log_w > math.log(RARE), weights, blocks, counted)
    forward: Any = -logsumexp(log_w, b=weights) - logsumexp(-log_w, b=weights)  # type: ignore[operator]
    guarded = fit.diagnostics.get("guarded")
    result = Audit(
        **vars(by_weights),
        reference=source,
        reference_log_z=log_z,
        reference_log_z_sd=log_z_sd,
        forward_ess_fraction=math.exp(min(forward, 0.0)),
        missing_mass=missing,
        missing_mass_ci90=bounds,
        guarded_fraction=guarded["active"] / max(1, guarded["energies"]) if guarded else None,
        energy_evaluations=samples + len(x) + spent,
    )
    missing = _missing(result)
    result = replace(result, warnings=(*missing, *_warnings(result, counted)))
    fit.diagnostics["audit"] = {"reference": source, "warnings": list(result.warnings), "missing": missing}
    return result


def _inputs(fit: Fit, frames: Frames) -> Tensor:
    """Coordinates of the model of all frames, ``(n, dim)``."""
    assert isinstance(fit.model, SystemModel)
    system = fit.model.system.cartesian
    size = int(np.prod(frames.positions.shape[1:]))
    if size != system.dim:
        raise ConfigError(f"the reference has {size} coordinates, the system of the fit {system.dim}")
    if system.temperature is None:
        name, text, actual, wanted = "temperature_kT", "kT = {:g}", frames.temperature_kT, system.kT
    else:
        name, text, actual, wanted = "temperature", "{:g} K", frames.temperature, system.temperature
    if len(frames) < 2:
        raise ConfigError(f"the reference is one frame only: give at least {_FEWEST} independent ones")
    if actual is None:
        raise ConfigError(f"the frames of the reference do not say their temperature: give them {name}={wanted:g}")
    if not math.isclose(actual, wanted, rel_tol=1e-6):
        raise ConfigError(f"the reference is at {text.format(actual)}, the system of the fit at {text.format(wanted)}")
    parts = torch.as_tensor(np.asarray(frames.positions)).split(CHUNK)
    with torch.no_grad():
        return torch.cat([fit.model.inputs(part.to(fit.device)) for part in parts])


def _densities(fit: Fit, x: Tensor, particles: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log density of the generator and of the physics, unnormalised, at coordinates of the model."""
    log_q, log_p = [], []
    with seeded(seed, fit.device), torch.no_grad():
        for part in x.to(fit.device, next(fit.model.parameters()).dtype).split(2000):
            log_q.append(log_generated(fit.model, part, particles))
            log_p.append(log_physics(fit.model, part))
    return torch.cat(log_q).double().cpu().numpy(), torch.cat(log_p).double().cpu().numpy()


def _fraction(
    chosen: np.ndarray, weight: np.ndarray, islands: np.ndarray, effective: float
) -> tuple[float, tuple[float, float]]:
    """Probability of the chosen frames, with a 90 % interval from the islands' spread."""
    share = float(weight @ chosen)
    none_seen = 1.0 - 0.05 ** (1.0 / effective)  # what could be there and yet show in no frame
    count = int(islands.max()) + 1
    deviations = np.bincount(islands, weight * (chosen - share), minlength=count) * count
    half = stats.t.ppf(0.95, count - 1) * deviations.std(ddof=1) / math.sqrt(count)
    return share, (float(max(0.0, share - half)), float(min(1.0, max(share + half, none_seen))))


def _missing(found: Audit) -> list[str]:
    """What to say of probability that the generator leaves out."""
    warnings = []
    low, high = found.missing_mass_ci90
    if low > 0 and found.missing_mass > _TOLERATED:
        warnings.append(
            f"the generator leaves out {found.missing_mass:.2%} of the probability (90 % interval {low:.2%} to "
            f"{high:.2%}), according to {found.reference}: nothing reweighted is right there"
        )
    if found.reference_log_z is not None and found.reference_log_z_sd is not None:
        deficit, error = found.reference_log_z - found.log_z, math.hypot(found.log_z_sd, found.reference_log_z_sd)
        if deficit > _LARGEST_DEFICIT * error:
            warnings.append(
                f"log Z is {deficit:.4f} below that of {found.reference}, {deficit / error:.1f} standard errors: "
                f"{-math.expm1(-deficit):.2%} of the probability is missing"
            )
    return warnings


def _warnings(found: Audit, counted: float) -> list[str]:
    warnings = []
    if counted < _FEWEST:
        warnings.append(
            f"only {counted:.1f} frames of the reference count, fewer than {_FEWEST}: what it does not show may be "
            "missing all the same"
        )
    if found.ess_fraction < FEW:
        warnings.append(TOO_FEW.format(found.ess_fraction))
    if found.pareto_k > WORST_K:
        warnings.append(UNRELIABLE.format(found.pareto_k))
    return warnings
