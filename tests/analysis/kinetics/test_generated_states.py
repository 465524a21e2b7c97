"""States of a generator whose densities are Gaussians: populations, timescales and intervals beside exact ones."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import norm, t

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ModelError
from bayescg.inference.uncertainty import Posterior
from bayescg.models import ReversibleDeepMSM

JOINT = np.array([[0.60, 0.02, 0.01], [0.02, 0.27, 0.01], [0.01, 0.01, 0.05]])
CENTRE, SD = np.array([-1.0, 1.0, 4.0]), np.array([0.6, 0.6, 0.5])
FRAMES = Frames.from_numpy(np.zeros((2, 1)), unit="reduced", dt=0.1, temperature_kT=1.0)


def gaussians(joints: list[np.ndarray] | None = None) -> bcg.Fit:
    """A fit whose flow is the identity, with refits of other joints where these are given."""
    model: Any = ReversibleDeepMSM(states=3, hidden=(4,), generator="flow", layers=1, bins=4, dim=1, rank=1, lag=0.1)
    with torch.no_grad():
        model.reset()
        model.densities.place[0] = torch.tensor(CENTRE)[:, None]
        model.densities.place[1] = torch.tensor(SD).log()[:, None]
    model = model.double().eval()
    rows = torch.tril_indices(3, 3)

    def values(joint: np.ndarray) -> dict[str, torch.Tensor]:
        log_k = torch.tensor(joint).log()[*rows]
        return {"log_joint": log_k, "occupation": torch.tensor(joint.sum(1))}

    model.load_state_dict(values(JOINT), strict=False)
    point = {**{k: v.detach() for k, v in model.named_parameters()}, **dict(model.named_buffers())}
    tensors = {} if joints is None else {k: torch.stack([values(j)[k] for j in joints]) for k in values(JOINT)}
    kind = "none" if joints is None else "bootstrap"
    return bcg.Fit(model, Posterior(kind, point, tensors, ("log_joint",)), {}, {}, {}, [], FRAMES)


def right(x: Any) -> Any:
    return x[:, 0] > 2.5


def test_populations_and_timescales_are_those_of_the_kernel():
    states = bcg.analysis.generated_states(gaussians(), FRAMES, 20_000)
    np.testing.assert_allclose(states.occupation[0], JOINT.sum(1), rtol=1e-6)
    exact = norm.sf(2.5, CENTRE, SD)
    shares = states.shares(right)[0]
    assert (np.abs(shares - exact) < 4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4).all()
    population = states.population(right)
    assert population.mean == pytest.approx(JOINT.sum(1) @ exact, rel=0.02)
    assert population.ci90 is None
    assert population.warning is not None
    assert "1 refits are too few" in population.warning
    # the kernel on a grid
    x = np.linspace(-6, 8, 1401)
    q = norm.pdf(x[:, None], CENTRE, SD) * (x[1] - x[0])
    mu = q @ JOINT.sum(1)
    values = np.linalg.eigvalsh(q @ JOINT @ q.T / np.sqrt(np.outer(mu, mu)))[::-1][1:3]
    np.testing.assert_allclose(states.eigenvalues[0], values, atol=0.01)
    assert states.timescale(1).mean == pytest.approx(-0.1 / np.log(values[0]), rel=0.05)


def refits(count: int, seed: int, spread: float = 0.3) -> list[np.ndarray]:
    """Joints whose last occupation is spread, on the logit scale."""
    rng, joints = np.random.default_rng(seed), []
    for c in expit(np.log(0.07 / 0.93) + spread * rng.normal(size=count)):
        joint = JOINT * (1 - c) / 0.93
        joint[2, :] = joint[:, 2] = JOINT[2] * c / 0.07
        joints.append(joint / joint.sum())
    return joints


def test_intervals_are_of_the_spread_between_refits():
    states = bcg.analysis.generated_states(gaussians(refits(9, 0)), FRAMES, 2000)
    population = states.population(right)
    whole = (states.occupation * states.shares(right)).sum(1)
    z = np.log(whole / (1 - whole))
    half = t.ppf(0.95, 8) * z.std(ddof=1) * (1 + 1 / 9) ** 0.5
    assert population.ci90 is not None
    np.testing.assert_allclose(population.ci90, expit(z.mean() + np.array([-half, half])), rtol=0.05)
    slowest = states.timescale(1)
    assert slowest.ci90 is not None
    assert slowest.ci90[0] < slowest.mean < slowest.ci90[1]


def test_a_region_that_only_tails_reach_has_no_interval():
    """A share may be right by accident; where a state lies in the region, there is an interval."""
    states = bcg.analysis.generated_states(gaussians(refits(5, 1)), FRAMES, 4000)
    between = states.population(lambda x: (x[:, 0] > 2.1) & (x[:, 0] < 2.8))
    assert between.ci90 is None
    assert between.warning is not None
    assert "are tails of states that lie elsewhere" in between.warning
    nowhere = states.population(lambda x: x[:, 0] > 20.0)
    assert nowhere.ci90 is None
    assert states.population(right).ci90 is not None


def test_a_mode_that_is_gone_has_no_interval():
    joints = [np.outer(j.sum(1), j.sum(1)) for j in refits(4, 2)]
    states = bcg.analysis.generated_states(gaussians(joints), FRAMES, 500)
    warning = states.timescale(1).warning
    assert warning is not None
    assert "is gone within the lag 0.1" in warning


def test_what_generates_nothing_is_refused():
    model, pairs, _ = ReversibleDeepMSM.example()
    fit = bcg.fit(model, pairs, steps=2, uncertainty="none", compile="off")
    with pytest.raises(ModelError, match="make it with generator='flow'"):
        bcg.analysis.generated_states(fit, pairs.frames)
