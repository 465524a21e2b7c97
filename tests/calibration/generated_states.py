"""Populations that a generative Markov state model draws, of which a few hundred jumps between states are known."""

from typing import Any

import numpy as np
from scipy.stats import norm

import bayescg as bcg
from bayescg.analysis import Quantity, generated_states
from bayescg.data import Frames
from bayescg.experiments import Row
from bayescg.models import ReversibleDeepMSM

JOINT = np.array([[0.570, 0.015, 0.005], [0.015, 0.250, 0.005], [0.005, 0.005, 0.130]])
CENTRE, SD = np.array([0.0, 2.5, 5.0]), np.array([0.5, 0.5, 0.4])
STEPS, EDGE = 3000, 3.8


def trajectory(seed: int) -> Frames:
    """Gaussians on a line, between which a reversible chain jumps."""
    rng = np.random.default_rng([seed, 23])
    occupation = JOINT.sum(1)
    step, uniform = np.cumsum(JOINT / occupation[:, None], 1), rng.random(STEPS)
    state = np.empty(STEPS, int)
    state[0] = rng.choice(3, p=occupation)
    for k in range(1, STEPS):
        state[k] = min(int(np.searchsorted(step[state[k - 1]], uniform[k])), 2)
    x = CENTRE[state] + SD[state] * rng.normal(size=STEPS)
    return Frames.from_numpy(x[:, None], unit="reduced", dt=1.0, temperature_kT=1.0)


def right(x: Any) -> Any:
    return x[:, 0] > EDGE


def left(x: Any) -> Any:
    return x[:, 0] < 1.25


def generated(seed: int) -> dict[str, Quantity]:
    frames = trajectory(seed)
    model = ReversibleDeepMSM(states=3, hidden=(8,), generator="flow", layers=1, bins=4, concentration=0.1)
    fit = bcg.fit(
        model, frames.lagged(1.0), steps=150, batch_size=500, learning_rate=0.03, validation=0.0,
        uncertainty="bootstrap", members=9, compile="off", seed=seed, progress=False,
    )  # fmt: skip
    states = generated_states(fit, frames, 2000, seed)
    return {"P(x > 3.8)": states.population(right), "P(x < 1.25)": states.population(left)}


def exact() -> dict[str, float]:
    c = JOINT.sum(1)
    return {
        "P(x > 3.8)": float(c @ norm.sf(EDGE, CENTRE, SD)),
        "P(x < 1.25)": float(c @ norm.cdf(1.25, CENTRE, SD)),
    }


ROWS = [
    Row(
        "generated-populations",
        "`generated_states` of `ReversibleDeepMSM`, three Gaussians, a chain of 3000 steps between them, 8 refits",
        generated,
        exact,
    )
]
