"""States of a generative Markov state model as draws: how probable they are, what they hold, how they exchange."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import expit, logit
from scipy.stats import t as student
from torch import Tensor

from bayescg import nets
from bayescg.analysis.evaluation import evaluate
from bayescg.analysis.fit_checks import check_fit, check_question
from bayescg.analysis.quantity import Quantity
from bayescg.data import Frames
from bayescg.errors import ModelError
from bayescg.recording.functional import call_with, mixed_seed, seeded

if TYPE_CHECKING:
    from bayescg.inference import Fit

__all__ = ["GeneratedStates", "generated_states"]

_FEWEST_REFITS = 3
_MOST_LOST = 0.05
"""Eigenvalues below this are of modes that are gone within a lag time."""
_RESOLVED = 0.5
_DRAWS = 4000


@dataclass(frozen=True)
class GeneratedStates:
    """What the states of a generator hold, in each draw of its parameters.

    Attributes
    ----------
    frames : Frames
        As many of each state, state by state, draw by draw.
    occupation : ndarray, (draws, states)
        How probable each state is.
    eigenvalues : ndarray, (draws, states - 1)
        Of the kernel that paths are drawn from, slowest first; they are smaller than those of the data by what a soft
        state forgets.
    lag : float
    unit : str
        Of time.
    seed : int
    """

    frames: Frames
    occupation: np.ndarray
    eigenvalues: np.ndarray
    lag: float
    unit: str
    seed: int

    def shares(self, inside: Callable[[Any], Any]) -> np.ndarray:
        """Of the frames of each state, the share inside a region, ``(draws, states)``."""
        within = np.asarray(evaluate(inside, self.frames), np.float64)
        return within.reshape(*self.occupation.shape, -1).mean(-1)

    def population(self, inside: Callable[[Any], Any]) -> Quantity:
        """Share of the generated frames inside a region, with an interval from the spread between refits.

        It has none with fewer than three refits, nor where less than half of what lies in the region is of states that
        are mostly there: what else is generated there are tails of states elsewhere, and the share right by accident.

        Parameters
        ----------
        inside : callable
            Whether positions ``(n, ...)`` lie in the region, ``(n,)``.
        """
        shares = self.shares(inside)
        parts = self.occupation * shares
        whole = parts.sum(1)
        resolved = parts[shares >= _RESOLVED].sum() / max(whole.sum(), 1e-300)
        warning = None
        if not whole.all():
            warning = "none of the frames that some refit generates lies there"
        elif resolved < _RESOLVED:
            warning = (
                f"{1 - resolved:.0%} of what is generated there are tails of states that lie elsewhere; give the model "
                "more states, or more frames of that region"
            )
        return self._quantity(whole, warning, logit, expit, "")

    def timescale(self, mode: int) -> Quantity:
        """Timescale of a mode of the kernel, 1 the slowest."""
        values = self.eigenvalues[:, mode - 1]
        gone = f"mode {mode} of the generator is gone within the lag {self.lag:g}"
        warning = gone if (values < _MOST_LOST).any() else None
        times = -self.lag / np.log(values.clip(1e-9, 1 - 1e-9))
        return self._quantity(times, warning, np.log, np.exp, self.unit)

    def _quantity(self, values: np.ndarray, warning: str | None, there: Any, back: Any, unit: str) -> Quantity:
        count = len(values)
        if count < _FEWEST_REFITS:
            warning = warning or f"{count} refits are too few for an interval; set fit.uncertainty and fit.members"
        if warning is not None:
            return Quantity.of(values, unit, warning)
        z = there(values)
        spread = student.rvs(count - 1, size=_DRAWS, random_state=np.random.default_rng(self.seed))
        draws = back(z.mean() + z.std(ddof=1) * (1 + 1 / count) ** 0.5 * spread)
        return Quantity.of(draws, unit, narrow=values, sd_by_source={"parameter": float(values.std(ddof=1))})


def generated_states(fit: Fit, frames: Frames, count: int = 1000, seed: int = 0) -> GeneratedStates:
    """Draw as many configurations of each state of a generator, of each of its refits or of the trained values.

    The populations of regions that follow are exact but for the few that are drawn of each state, also of states that
    hardly ever occur.

    Parameters
    ----------
    fit : Fit
        Of a model with a generator, :class:`bayescg.models.ReversibleDeepMSM`.
    frames : Frames
        Like which the drawn ones are: of their unit, topology and temperature.
    count : int
        Of each state and draw.
    seed : int

    Raises
    ------
    ModelError
        The model generates no configurations.

    References
    ----------
    H. Wu, A. Mardt, L. Pasquali, F. Noé, "Deep generative Markov state models", NeurIPS 2018; arXiv:1805.07601.
    """
    check_fit(fit)
    check_question(frames, count=(count, 1), seed=(seed, 0))
    model: Any = fit.model
    name = type(model).__name__
    if getattr(model, "generator", None) is None:
        raise ModelError(f"this {name} generates no configurations: make it with generator='flow'")
    varying, many = fit.weights.some(None, fit.weights.members, seed, name)
    parts = []
    for number in range(many or 1):
        point = {**fit.weights.point, **{k: v[number] for k, v in varying.items()}}
        with seeded(mixed_seed(seed, number), fit.device), torch.no_grad():
            parts.append(call_with(model, point, _of_states, count))
    occupation, eigenvalues, positions = (
        np.stack([p.cpu().numpy() for p in part]) for part in zip(*parts, strict=True)
    )
    generated = Frames.from_numpy(
        positions.reshape(-1, *positions.shape[2:]), unit=frames.unit, temperature=frames.temperature,
        temperature_kT=frames.temperature_kT, topology=frames.topology, source="generated_states",
        trajectory=np.repeat(np.arange(occupation.size), count), weights=np.repeat(occupation.ravel(), count),
    )  # fmt: skip
    return GeneratedStates(generated, occupation, eigenvalues, model.lag, "ps" if frames.unit == "nm" else "", seed)


def _of_states(model: Any, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Occupations, eigenvalues of the kernel, and positions, state by state."""
    joint = model.equilibrium_joint().double()
    c = joint.sum(1)
    u = model.densities.draw(torch.arange(len(c), device=c.device).repeat_interleave(count))
    chi = torch.cat([(c.log() + model.densities.log_prob(part).double()).softmax(-1) for part in u.split(10_000)])
    weight = c.repeat_interleave(count) * len(c)  # of draws from each state alike
    eigenvalues = nets.transfer_eigenvalues(chi * weight.sqrt()[:, None], joint / c[:, None] / c)
    return c, eigenvalues, model.positions(u)
