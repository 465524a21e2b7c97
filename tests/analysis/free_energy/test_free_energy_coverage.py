"""Coverage of free-energy differences on correlated trajectories whose exact answer is known by quadrature."""

import numpy as np
import pytest
from scipy.integrate import quad

from bayescg.analysis import free_energy
from bayescg.analysis.free_energy import estimate
from bayescg.data import Frames

LEFT, RIGHT = (-3.0, 0.0), (0.0, 3.0)


def potential(x):
    return (x**2 - 1) ** 2 + 0.4 * x


def exact_difference():
    weight = [quad(lambda x: np.exp(-potential(x)), *region)[0] for region in (LEFT, RIGHT)]
    return -np.log(weight[1] / weight[0])


def metropolis(replicates, steps, seed, step=0.6):
    """Chains (replicates, steps) whose stationary density is exactly exp(-U): there is no error of a time step."""
    rng = np.random.default_rng(seed)
    x = rng.choice([-1.0, 1.0], size=replicates)
    burn, out = 500, np.empty((replicates, steps))
    for t in range(burn + steps):
        proposal = x + step * rng.normal(size=replicates)
        accept = np.log(rng.uniform(size=replicates)) < potential(x) - potential(proposal)
        x = np.where(accept, proposal, x)
        if t >= burn:
            out[:, t - burn] = x
    return out


def coverage(chains, trajectories=1):
    truth, held, errors, spreads = exact_difference(), 0, [], []
    for i, chain in enumerate(chains):
        index = np.repeat(np.arange(trajectories), len(chain) // trajectories)
        frames = Frames.from_numpy(chain[:, None], unit="reduced", dt=1.0, temperature_kT=1.0, trajectory=index)
        found = free_energy(None, frames, cv=lambda x: x[:, 0], bins=20, draws=400, seed=i).difference(LEFT, RIGHT)
        assert found.ci90 is not None
        held += found.ci90[0] <= truth <= found.ci90[1]
        errors.append(found.mean - truth)
        spreads.append(found.sd)
    return held, np.mean(errors) / np.mean(spreads), np.std(errors) / np.mean(spreads)


def test_intervals_hold_the_exact_difference_in_most_of_40_chains():
    held, _, ratio = coverage(metropolis(40, 6000, seed=1))
    assert 31 <= held <= 40  # a right interval leaves this range once in a hundred times
    assert 0.7 < ratio < 1.3


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "trajectories"), [(1500, 1), (4000, 1), (8000, 4)])
def test_intervals_cover_as_they_say(steps, trajectories):
    held, bias, _ = coverage(metropolis(200, steps, seed=2 + steps), trajectories)
    assert 167 <= held <= 191
    assert abs(bias) < 0.3


def test_frames_taken_as_independent_fail(monkeypatch):
    monkeypatch.setattr(estimate, "block_ids", lambda frames, g: np.arange(len(frames)))
    held, _, ratio = coverage(metropolis(40, 2000, seed=3))
    assert held < 31
    assert ratio > 1.7
