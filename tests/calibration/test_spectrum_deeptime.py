"""Beside deeptime's Bayesian Markov models, whose error bars depend on how transitions are counted."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import spectrum
from bayescg.data import Frames

MISSING = "deeptime is not installed (extra deeptime)"
markov = pytest.importorskip("deeptime.markov", reason=MISSING)
msm = pytest.importorskip("deeptime.markov.msm", reason=MISSING)

SETS, EVERY, LAG = 200, 0.02, 0.5
MODES = ("effective", "sliding", "sliding-effective", "sample")


def markov_model(states, counting):
    """Draws of the slowest eigenvalue."""
    steps = round(LAG / EVERY)
    counts = markov.TransitionCountEstimator(lagtime=steps, count_mode=counting).fit_fetch(states).submodel_largest()
    sampler = msm.BayesianMSM(n_samples=100, reversible=True)
    found = sampler.fit_from_counts(counts, ignore_counting_mode=True).fetch_model()
    return np.array([1 / (EVERY * one.timescales(1)[0]) for one in found.samples])


@pytest.mark.slow
def test_intervals_are_narrower_than_those_of_any_way_of_counting_that_covers():
    system = bcg.systems.QuarticDoubleWell()
    truth = bcg.truth.spectrum(system, modes=1).eigenvalues[0]
    frames = bcg.sampling.overdamped(system, 400_000, dt=1e-3, chains=SETS, stride=20, seed=11)
    centres, edges = torch.linspace(-1.7, 1.7, 14), np.linspace(-1.8, 1.8, 19)
    basis = lambda x: torch.tanh((x - centres) / 0.45)  # noqa: E731
    found = {name: np.empty((SETS, 4)) for name in ("generator", "lagged", *MODES)}
    for k, x in enumerate(np.asarray(frames.positions).reshape(SETS, -1, 1)):
        own = Frames.from_numpy(x, unit="reduced", dt=EVERY, temperature_kT=1.0)
        for name, lag in (("generator", None), ("lagged", LAG)):
            one = spectrum(basis, own, lag=lag, modes=1, draws=400, seed=k)
            found[name][k] = one.mean[0], one.sd[0], *one.ci90.values[:, 0]
        states = np.digitize(x[:, 0], edges)
        for counting in MODES:
            draws = markov_model(states, counting)
            found[counting][k] = draws.mean(), draws.std(), *np.quantile(draws, [0.05, 0.95])
    held = {name: int(((v[:, 2] <= truth) & (truth <= v[:, 3])).sum()) for name, v in found.items()}
    width = {name: float((v[:, 3] - v[:, 2]).mean()) for name, v in found.items()}
    ratio = {name: float(v[:, 1].mean() / v[:, 0].std()) for name, v in found.items()}
    for name in found:
        print(f"{name}: held {held[name]}, width {width[name]:.4f}, quoted/true sd {ratio[name]:.2f}")
    for ours in ("generator", "lagged"):
        assert 164 <= held[ours] <= 193
    for counting in MODES:
        if held[counting] >= 164:
            assert width["generator"] < width[counting]
