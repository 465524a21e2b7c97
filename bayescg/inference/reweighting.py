"""Frames of a fit that learned from energies: its own draws, weighted to the system's Boltzmann distribution."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg.arguments import check_counts, check_positive
from bayescg.draws import pareto_k, pareto_smoothed
from bayescg.errors import ConfigError, DataError
from bayescg.modelling import Draws, GeneratorModel, SystemModel
from bayescg.modelling.schedules.importance import draw, log_generated
from bayescg.recording.functional import Params, call_with, state_of
from bayescg.systems import System
from bayescg.topologies import read_topology
from bayescg.units import plain

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = [
    "FEW",
    "SAMPLES",
    "TOO_FEW",
    "UNRELIABLE",
    "WORST_K",
    "Evidence",
    "check_queries",
    "draws_of_refits",
    "evidence",
    "reweighted",
    "weighted_draws",
]

SAMPLES = 200_000
PARTICLES = 16
WORST_K = 0.7
UNRELIABLE = "Pareto k of the weights is {:.2f}, above 0.7: averages made of them, and their errors, are rough"
FEW = 0.01
TOO_FEW = (
    "only {:.2%} of the fit's draws count: its generator does not describe the system; train for longer, or let a "
    "flow do it, BoltzmannGenerator"
)
BLOCKS = 100
_CHUNK = 4096


@dataclass(frozen=True)
class Evidence:
    """What the weights of a fit's draws say of the fit.

    Attributes
    ----------
    log_z, log_z_sd : float
        Log of the partition function, and its standard error over blocks of draws.
    ess_fraction : float
        Effective fraction of draws from the generator.
    pareto_k : float
        Shape of the tail of the weights; above 0.7 nothing made of them can be trusted.
    """

    log_z: float
    log_z_sd: float
    ess_fraction: float
    pareto_k: float


def reweighted(fit: Any, samples: int = SAMPLES, seed: int = 0, temperature: float | None = None) -> Frames:
    r"""Fresh draws of a fit without frames, each with its Pareto-smoothed importance weight.

    The weights are :math:`e^{-U(x)/kT} / \hat q(x)`: averages with them are averages over the system itself, whatever
    the generator's own distribution, wherever it has any mass. Where there are latent variables z, the generator's
    density is the mean of :math:`q(x, z) / r(z \mid x)` over the draw's own z and 15 others from the reverse map r,
    which is right on average (``bayescg.modelling.schedules.importance``); with its own z alone the weights of
    rare configurations, such as those of a barrier, are few, large and easily missed.

    Of an ensemble every refit gives its share of the draws, with weights of the same sum. Each is an estimate of its
    own, wrong by the chance of its draws and by what its training left out or described badly; the refits' spread
    tells of both, and is what analyses of such frames make their error bars of. What all refits leave out, it cannot
    tell: see :func:`bayescg.analysis.audit`.

    Parameters
    ----------
    fit : Fit
        Of a model that queries a system.
    samples : int
        Energies that are computed, at least 100 for each refit.
    seed : int
        Other draws than those of the training for every seed.
    temperature : float or openmm.unit.Quantity, optional
        Another than the system's, K, of toys kT: within the range that the generator was trained at
        (``temperatures=``), or, of one without, near enough for its weights to reach. The frames are of that
        temperature. A generator of a range makes its draws at all temperatures of it alike, whichever is asked.

    Returns
    -------
    Frames
        Independent, with ``weights``; ``provenance`` tells ``pareto_k``, the largest of the refits',
        ``energy_evaluations``, ``log_z``, its standard error ``log_z_sd`` and ``ess_fraction``, lists with one entry
        for each refit, and, of an ensemble, the number of ``refits``, each a trajectory.

    Raises
    ------
    DataError
        The model learned from frames: reweight nothing, use those.
    ConfigError
        There are too few samples for a tail of their weights, or the temperature is outside of the model's range.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry, "Pareto smoothed importance sampling", JMLR 25 (2024).
    """
    from bayescg.data import Frames

    check_queries(fit)
    states = _states(fit)
    each = samples // len(states)
    parts, weights, tails, by_refit = [], [], [], []
    assert isinstance(fit.model, SystemModel)
    system = fit.model.system.cartesian
    ratio = _ratio(system, plain(temperature, "K"))
    for draws in draws_of_refits(fit, samples, seed, 1 / ratio):
        log_weight, k = pareto_smoothed(draws.log_importance.double().cpu().numpy())
        weight = np.exp(log_weight - log_weight.max())
        parts.append(draws.x)
        weights.append(weight / weight.sum())
        tails.append(k)
        by_refit.append(evidence(draws))
    frames = Frames.from_numpy(
        torch.cat([fit.model.positions(x) for x in parts]).cpu().numpy(),
        unit="reduced" if system.temperature is None else "nm",
        temperature=None if system.temperature is None else ratio * system.temperature,
        temperature_kT=ratio * system.kT if system.temperature is None else None,
        weights=np.concatenate(weights),
        trajectory=None if len(states) == 1 else np.repeat(np.arange(len(states)), each),
        topology=None if system.topology is None else read_topology(system.topology)[0],
        source=f"{samples} draws of {type(fit.model).__name__}",
    )
    weighing: dict[str, Any] = {"pareto_k": max(tails), "energy_evaluations": each * len(states)}
    weighing |= {name: [getattr(e, name) for e in by_refit] for name in ("log_z", "log_z_sd", "ess_fraction")}
    if len(states) > 1:
        weighing["refits"] = len(states)
    return replace(frames, provenance={**frames.provenance, **weighing})


def check_queries(fit: Any) -> None:
    """Refuse what is no fit, and fits that learned from frames."""
    if not hasattr(fit, "weights"):
        raise ConfigError(f"fit is a {type(fit).__name__}; give what bcg.fit or bcg.Fit.load returns")
    if fit.model.needs_frames:
        raise DataError(
            f"{type(fit.model).__name__} learns from frames and has no weighted draws of its own: give frames="
        )


def _states(fit: Any) -> list[Params]:
    """Parameters and buffers of every refit, the trained one first."""
    trained = state_of(fit.model)
    refits = fit.weights.tensors if fit.weights.members else {}
    return [trained, *({**trained, **{k: v[m] for k, v in refits.items()}} for m in range(fit.weights.members or 0))]


def _ratio(system: System, temperature: float | None) -> float:
    """Of a temperature to the system's own."""
    if temperature is None:
        return 1.0
    check_positive(temperature=temperature)
    return temperature / (system.kT if system.temperature is None else system.temperature)


def draws_of_refits(fit: Any, samples: int, seed: int, beta: float = 1.0) -> Iterator[Draws]:
    """Draws with their log weights of the trained model, and of every refit where there are some: `samples` in all.

    They are weighted to the inverse temperature `beta`, in units of the system's own, at which they are made; those of
    a model of a range of temperatures at all of its levels alike, whatever `beta` is, against the density of all levels
    together: what the generator hardly visits at one temperature, it may well at another.

    Raises
    ------
    DataError
        The model learned from frames.
    ConfigError
        There are too few samples.
    """
    check_queries(fit)
    states = _states(fit)
    if beta != 1 and "beta" not in states[0]:
        raise ConfigError(f"{type(fit.model).__name__} knows no temperature but the system's own")
    levels = fit.model.levels if isinstance(fit.model, GeneratorModel) else [1.0]
    if len(levels) > 1 and not 0.999 * levels[-1] <= beta <= 1.001:
        raise ConfigError(
            f"the temperature is {1 / beta:.3g} times the system's own, outside of the range that the model was "
            f"trained at (1 to {1 / levels[-1]:.3g} times): what its draws leave out there, their weights cannot tell"
        )
    check_counts(samples=(samples, BLOCKS * len(states) * len(levels)), seed=(seed, 0))
    for number, state in enumerate(states):
        # torch looks at 32 bits of a seed
        seed_of_refit = seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        names, each = list(fit.weights.names), samples // len(states)
        if len(levels) > 1:
            yield _of_levels(fit.model, names, state, each // len(levels), seed_of_refit, levels, beta)
        else:
            yield draw(fit.model, names, _at(state, beta), each, seed_of_refit, PARTICLES)


def _at(state: Params, beta: float) -> Params:
    return state if beta == 1 else {**state, "beta": torch.full_like(state["beta"], beta)}


def _of_levels(
    model: Any, names: list[str], state: Params, count: int, seed: int, levels: list[float], beta: float
) -> Draws:
    """Draws at each level, taking turns, weighted to `beta` by the mean of the levels' densities.

    References
    ----------
    E. Veach, L. Guibas, "Optimally combining sampling techniques for Monte Carlo rendering", SIGGRAPH 1995, the balance
    heuristic; Shirts, Chodera, J. Chem. Phys. 129, 124105 (2008), for temperatures.
    """
    seeds = np.random.SeedSequence([seed, len(levels)]).generate_state(len(levels))
    parts = [draw(model, names, _at(state, level), count, int(s)) for level, s in zip(levels, seeds, strict=True)]
    x, log_weight, per_beta = (
        torch.stack(columns, 1).flatten(0, 1)
        for columns in (
            [part.x for part in parts],
            [part.log_weight for part in parts],
            [part.log_target / level for part, level in zip(parts, levels, strict=True)],
        )
    )
    with torch.no_grad():
        densities = torch.stack([
            torch.cat([call_with(model, _at(state, b), log_generated, rows, 1) for rows in x.split(_CHUNK)])
            for b in levels
        ])  # fmt: skip
    turn = torch.arange(len(x), device=x.device) % len(levels)
    proposed, made_at = densities.gather(0, turn[None])[0], per_beta.new_tensor(levels)[turn]
    log_weight = log_weight + (beta - made_at) * per_beta + proposed - (densities.logsumexp(0) - math.log(len(levels)))
    return Draws(x, log_weight, torch.zeros_like(log_weight), beta * per_beta)


def weighted_draws(fit: Any, samples: int, seed: int) -> Draws:
    """Draws of a fit without frames, with their log weights; of an ensemble, of the trained refit.

    Raises
    ------
    DataError
        The model learned from frames.
    ConfigError
        There are too few samples.
    """
    check_queries(fit)
    check_counts(samples=(samples, BLOCKS), seed=(seed, 0))
    return draw(fit.model, list(fit.weights.names), state_of(fit.model), samples, seed, PARTICLES)


def evidence(draws: Draws) -> Evidence:
    """Partition function, effective fraction and Pareto k of weighted draws."""
    log_w = draws.log_importance.double().cpu().numpy()
    top = log_w.max()
    w = np.exp(log_w - top)
    share = draws.log_share.double().exp().cpu().numpy()
    ratio = draws.log_weight.double()
    ratio = (ratio - ratio.max()).exp().cpu().numpy()
    z = w.mean() / share.mean()  # shares are 1 on average: what they are by chance, the weights are as well
    blocks = np.array([b.mean() for b in np.array_split(w - z * share, BLOCKS)])  # each stratified as the whole is
    return Evidence(
        log_z=float(top + np.log(z)),
        log_z_sd=float(blocks.std(ddof=1) / w.mean() / np.sqrt(BLOCKS)),
        ess_fraction=float((share @ ratio) ** 2 / (share.sum() * (share @ ratio**2))),
        pareto_k=float(pareto_k(log_w)),
    )
